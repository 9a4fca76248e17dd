package schema1

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"crypto/x509"

	"github.com/peelfs/peelfs/internal/errkind"
)

// maxSignatures bounds the work that a document can ask for.
const maxSignatures = 16

// Signature is one good signature.
type Signature struct {
	Algorithm string    // ES256, …
	KeyID     string    // fingerprint computed from the key itself, in libtrust's form
	Time      time.Time // when the writer says that it signed; zero if it does not say
}

// jws is a libtrust "pretty signature": the signed document itself with one
// field added at its end.
type jws struct {
	Signatures []struct {
		Header struct {
			JWK       json.RawMessage `json:"jwk"`
			X5c       []string        `json:"x5c"`
			Algorithm string          `json:"alg"`
		} `json:"header"`
		Signature string `json:"signature"`
		Protected string `json:"protected"`
	} `json:"signatures"`
}

// frame is the protected header: how to cut the signed document out of the
// whole.
type frame struct {
	FormatLength int       `json:"formatLength"`
	FormatTail   string    `json:"formatTail"`
	Time         time.Time `json:"time"`
}

// verify returns the payload of body and its signatures, each of them checked.
// A body without signatures is its own payload.
func verify(body []byte) ([]byte, []Signature, error) {
	var doc jws
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, nil, errkind.New(errkind.Corrupt, "not a JSON document: %w", err)
	}
	if len(doc.Signatures) == 0 {
		return body, nil, nil
	}
	if len(doc.Signatures) > maxSignatures {
		return nil, nil, errkind.New(errkind.Unsupported, "%d signatures are more than %d", len(doc.Signatures), maxSignatures)
	}
	payload, err := doc.payload(body)
	if err != nil {
		return nil, nil, err
	}
	encoded := base64.RawURLEncoding.EncodeToString(payload)
	out := make([]Signature, len(doc.Signatures))
	for i, s := range doc.Signatures {
		key, err := publicKey(s.Header.JWK, s.Header.X5c)
		if err != nil {
			return nil, nil, errkind.New(errkind.Of(err), "signature %d: %w", i, err)
		}
		if err := checkSignature(s.Header.Algorithm, key, s.Protected+"."+encoded, s.Signature); err != nil {
			return nil, nil, errkind.New(errkind.Of(err), "signature %d: %w", i, err)
		}
		f, _ := readFrame(s.Protected) // read before, by payload
		out[i] = Signature{Algorithm: s.Header.Algorithm, KeyID: fingerprint(key), Time: f.Time}
	}
	return payload, out, nil
}

// payload cuts out what was signed. All signatures must mean the same bytes.
func (doc *jws) payload(body []byte) ([]byte, error) {
	var first frame
	for i, s := range doc.Signatures {
		f, err := readFrame(s.Protected)
		if err != nil {
			return nil, errkind.New(errkind.Corrupt, "signature %d: %w", i, err)
		}
		if i == 0 {
			first = f
		}
		if f.FormatLength != first.FormatLength || f.FormatTail != first.FormatTail {
			return nil, errkind.New(errkind.Corrupt, "signatures disagree on what they sign")
		}
	}
	if first.FormatLength <= 0 || first.FormatLength > len(body) {
		return nil, errkind.New(errkind.Corrupt, "signed length %d of a document of %d bytes", first.FormatLength, len(body))
	}
	tail, err := decodeURL(first.FormatTail)
	if err != nil {
		return nil, errkind.New(errkind.Corrupt, "signed tail: %w", err)
	}
	return slices.Concat(body[:first.FormatLength], tail), nil
}

func readFrame(protected string) (frame, error) {
	var f frame
	raw, err := decodeURL(protected)
	if err != nil {
		return f, errkind.New(errkind.Corrupt, "protected header: %w", err)
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, errkind.New(errkind.Corrupt, "protected header: %w", err)
	}
	return f, nil
}

// decodeURL reads base64url; libtrust writes no padding and accepts it.
func decodeURL(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

// fingerprint is libtrust's name of a key: 240 bits of the SHA-256 of its DER
// form in base32, in groups of four.
func fingerprint(key crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	text := base32.StdEncoding.EncodeToString(sum[:30])
	var groups []string
	for g := range slices.Chunk([]byte(text), 4) {
		groups = append(groups, string(bytes.Clone(g)))
	}
	return strings.Join(groups, ":")
}
