package schema1

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// signer makes the header and the signatures of one key.
type signer struct {
	alg  string
	head string // "jwk":… or "x5c":…
	sign func(sum []byte) []byte
	hash crypto.Hash
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func ecSigner(alg string, curve elliptic.Curve, hash crypto.Hash) signer {
	key := must(ecdsa.GenerateKey(curve, rand.Reader))
	n := (curve.Params().BitSize + 7) / 8
	point := must(key.PublicKey.Bytes())
	head := fmt.Sprintf(`"jwk":{"kty":"EC","crv":%q,"x":%q,"y":%q}`, curve.Params().Name, b64(point[1:1+n]), b64(point[1+n:]))
	return signer{alg, head, func(sum []byte) []byte {
		r, s, err := ecdsa.Sign(rand.Reader, key, sum)
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, n)), s.FillBytes(make([]byte, n))...)
	}, hash}
}

func rsaSigner(key *rsa.PrivateKey, alg string, hash crypto.Hash) signer {
	head := fmt.Sprintf(`"jwk":{"kty":"RSA","n":%q,"e":%q}`, b64(key.N.Bytes()), b64(big.NewInt(int64(key.E)).Bytes()))
	return signer{alg, head, func(sum []byte) []byte {
		return must(rsa.SignPKCS1v15(rand.Reader, key, hash, sum))
	}, hash}
}

func certSigner(key *rsa.PrivateKey) signer {
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "t"}}
	der := must(x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key))
	s := rsaSigner(key, "RS256", crypto.SHA256)
	s.head = fmt.Sprintf(`"x5c":[%q]`, base64.StdEncoding.EncodeToString(der))
	return s
}

// signed adds signatures to a document as libtrust does.
func signed(doc []byte, signers ...signer) []byte {
	cut := bytes.TrimRight(bytes.TrimSuffix(doc, []byte("}")), "\n ")
	tail := doc[len(cut):]
	protected := b64([]byte(fmt.Sprintf(`{"formatLength":%d,"formatTail":%q,"time":"2015-02-03T04:05:06Z"}`, len(cut), b64(tail))))
	var sigs []string
	for _, s := range signers {
		h := s.hash.New()
		h.Write([]byte(protected + "." + b64(doc)))
		sigs = append(sigs, fmt.Sprintf(`{"header":{%s,"alg":%q},"signature":%q,"protected":%q}`,
			s.head, s.alg, b64(s.sign(h.Sum(nil))), protected))
	}
	return fmt.Appendf(nil, `%s,"signatures":[%s]}`, cut, strings.Join(sigs, ","))
}

func someManifest() []byte {
	return manifest(part{sum("2"), img("b", "a", "")}, part{sum("1"), img("a", "", "")})
}

func TestAlgorithms(t *testing.T) {
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	signers := []signer{
		ecSigner("ES256", elliptic.P256(), crypto.SHA256),
		ecSigner("ES384", elliptic.P384(), crypto.SHA384),
		ecSigner("ES512", elliptic.P521(), crypto.SHA512),
		rsaSigner(key, "RS256", crypto.SHA256),
		rsaSigner(key, "RS384", crypto.SHA384),
		rsaSigner(key, "RS512", crypto.SHA512),
		certSigner(key),
	}
	doc := someManifest()
	for _, s := range signers {
		m, err := Parse(signed(doc, s))
		if err != nil {
			t.Errorf("%s: %v", s.alg, err)
			continue
		}
		if !bytes.Equal(m.Payload, doc) || m.Signatures[0].Algorithm != s.alg || !m.Signatures[0].Time.Equal(time.Date(2015, 2, 3, 4, 5, 6, 0, time.UTC)) {
			t.Errorf("%s: %+v", s.alg, m.Signatures)
		}
		damaged := bytes.Replace(signed(doc, s), []byte(sum("1")), []byte(sum("3")), 1)
		if _, err := Parse(damaged); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s: a changed layer passes: %v", s.alg, err)
		}
	}
	m, err := Parse(signed(doc, signers...))
	if err != nil || len(m.Signatures) != len(signers) || len(m.KeyIDs()) != 4 {
		t.Errorf("all at once: %v", err)
	}
}

// Every byte that is signed matters.
func TestEveryByteOfThePayloadIsSigned(t *testing.T) {
	body := signed(someManifest(), ecSigner("ES256", elliptic.P256(), crypto.SHA256))
	end := bytes.Index(body, []byte(`,"signatures"`))
	for i := range end {
		damaged := bytes.Clone(body)
		damaged[i] ^= 1
		if m, err := Parse(damaged); err == nil && m.Signed() {
			t.Fatalf("byte %d changed, and the signature still fits", i)
		}
	}
}

func TestBadSignatures(t *testing.T) {
	ec := ecSigner("ES256", elliptic.P256(), crypto.SHA256)
	doc := someManifest()
	good := string(signed(doc, ec))
	with := func(change func(*signer)) []byte {
		s := ec
		change(&s)
		return signed(doc, s)
	}
	protect := func(head string) []byte {
		i := strings.Index(good, `"protected":"`)
		return []byte(good[:i] + `"protected":"` + b64([]byte(head)) + `"}]}`)
	}
	for name, c := range map[string]struct {
		body []byte
		kind errkind.Kind
	}{
		"algorithm none":        {with(func(s *signer) { s.alg = "none" }), errkind.Unsupported},
		"algorithm HS256":       {with(func(s *signer) { s.alg = "HS256" }), errkind.Unsupported},
		"of another key type":   {with(func(s *signer) { s.alg = "RS256" }), errkind.Corrupt},
		"of another curve":      {with(func(s *signer) { s.alg = "ES384" }), errkind.Corrupt},
		"empty":                 {with(func(s *signer) { s.sign = func([]byte) []byte { return nil } }), errkind.Corrupt},
		"zero":                  {with(func(s *signer) { s.sign = func([]byte) []byte { return make([]byte, 64) } }), errkind.Corrupt},
		"no key":                {with(func(s *signer) { s.head = `"kid":"x"` }), errkind.Corrupt},
		"a point off curve":     {with(func(s *signer) { s.head = `"jwk":{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}` }), errkind.Corrupt},
		"an unknown curve":      {with(func(s *signer) { s.head = `"jwk":{"kty":"EC","crv":"P-224"}` }), errkind.Unsupported},
		"a symmetric key":       {with(func(s *signer) { s.head = `"jwk":{"kty":"oct","k":"AA"}` }), errkind.Unsupported},
		"a tiny RSA key":        {with(func(s *signer) { s.head = `"jwk":{"kty":"RSA","n":"Aw","e":"AQAB"}` }), errkind.Unsupported},
		"no certificate":        {with(func(s *signer) { s.head = `"x5c":["AAAA"]` }), errkind.Corrupt},
		"length beyond the end": {protect(`{"formatLength":99999999,"formatTail":"fQ"}`), errkind.Corrupt},
		"negative length":       {protect(`{"formatLength":-1,"formatTail":"fQ"}`), errkind.Corrupt},
		"length zero":           {protect(`{"formatTail":"fQ"}`), errkind.Corrupt},
		"tail is not base64":    {protect(`{"formatLength":10,"formatTail":"?"}`), errkind.Corrupt},
		"header is not JSON":    {protect(`x`), errkind.Corrupt},
	} {
		if m, err := Parse(c.body); !errkind.Is(err, c.kind) {
			t.Errorf("%s: %v, %v; want kind %v", name, m, err, c.kind)
		}
	}
}

func TestSignaturesThatDisagree(t *testing.T) {
	ec := ecSigner("ES256", elliptic.P256(), crypto.SHA256)
	doc := someManifest()
	var a, b struct {
		Signatures []json.RawMessage `json:"signatures"`
	}
	one := signed(doc, ec)
	if json.Unmarshal(one, &a) != nil || json.Unmarshal(signed(append(bytes.Clone(doc[:len(doc)-1]), '\n', '}'), ec), &b) != nil {
		t.Fatal("the test's own documents do not parse")
	}
	body := bytes.Replace(one, a.Signatures[0], []byte(string(a.Signatures[0])+","+string(b.Signatures[0])), 1)
	if _, err := Parse(body); !errkind.Is(err, errkind.Corrupt) || !strings.Contains(err.Error(), "disagree") {
		t.Errorf("got %v", err)
	}
}

// No input makes Parse panic, and what it accepts is a chain of layers under the
// digest of its payload.
func FuzzParse(f *testing.F) {
	f.Add(read(f, fixture))
	f.Add(read(f, "testdata/converted-signed.json"))
	f.Add(someManifest())
	f.Add(manifest(part{EmptyLayer.String(), img("b", "a", `,"throwaway":true`)}, part{sum("1"), img("a", "", "")}))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Parse(body)
		if err != nil {
			return
		}
		again, err := Parse(m.Payload)
		if err != nil || again.Digest != m.Digest || !bytes.Equal(again.Config, m.Config) {
			t.Fatalf("the payload alone reads differently: %v", err)
		}
		for _, l := range m.Layers {
			if l.BlobSum.Validate() != nil || m.History[l.History].EmptyLayer {
				t.Fatalf("layer %+v", l)
			}
		}
	})
}
