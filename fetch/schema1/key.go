package schema1

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512" // for crypto.Hash
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Sizes of RSA keys that are used, bits: shorter ones prove nothing, longer
// ones only cost time.
const (
	minRSA = 1024
	maxRSA = 8192
)

type algorithm struct {
	curve elliptic.Curve // nil for RSA (PKCS #1 v1.5)
	hash  crypto.Hash
}

func algorithmOf(name string) (algorithm, bool) {
	switch name {
	case "ES256":
		return algorithm{elliptic.P256(), crypto.SHA256}, true
	case "ES384":
		return algorithm{elliptic.P384(), crypto.SHA384}, true
	case "ES512":
		return algorithm{elliptic.P521(), crypto.SHA512}, true
	case "RS256":
		return algorithm{nil, crypto.SHA256}, true
	case "RS384":
		return algorithm{nil, crypto.SHA384}, true
	case "RS512":
		return algorithm{nil, crypto.SHA512}, true
	}
	return algorithm{}, false
}

// checkSignature proves that key signed input; the algorithm must fit the key.
func checkSignature(name string, key crypto.PublicKey, input, signature string) error {
	alg, ok := algorithmOf(name)
	if !ok {
		return errkind.New(errkind.Unsupported, "algorithm %q", name)
	}
	sig, err := decodeURL(signature)
	if err != nil {
		return errkind.New(errkind.Corrupt, "%w", err)
	}
	h := alg.hash.New()
	h.Write([]byte(input))
	if !alg.verify(key, h.Sum(nil), sig) {
		return errkind.New(errkind.Corrupt, "it does not fit the manifest (%s)", name)
	}
	return nil
}

func (a algorithm) verify(key crypto.PublicKey, sum, sig []byte) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if a.curve == nil || key.Curve != a.curve {
			return false
		}
		n := (a.curve.Params().BitSize + 7) / 8
		if len(sig) != 2*n {
			return false
		}
		return ecdsa.Verify(key, sum, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:]))
	case *rsa.PublicKey:
		return a.curve == nil && rsa.VerifyPKCS1v15(key, a.hash, sum, sig) == nil
	}
	return false
}

// publicKey reads the key that comes with a signature: a JSON web key, or the
// first certificate of a chain. Nothing says whose it is.
func publicKey(jwk json.RawMessage, x5c []string) (crypto.PublicKey, error) {
	if len(jwk) > 0 && string(jwk) != "null" {
		return keyFromJWK(jwk)
	}
	if len(x5c) == 0 {
		return nil, errkind.New(errkind.Corrupt, "no key")
	}
	der, err := base64.StdEncoding.DecodeString(x5c[0])
	if err != nil {
		return nil, errkind.New(errkind.Corrupt, "certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errkind.New(errkind.Corrupt, "certificate: %w", err)
	}
	return checkKey(cert.PublicKey)
}

func keyFromJWK(raw json.RawMessage) (crypto.PublicKey, error) {
	var k struct {
		Type  string `json:"kty"`
		Curve string `json:"crv"`
		X     string `json:"x"`
		Y     string `json:"y"`
		N     string `json:"n"`
		E     string `json:"e"`
	}
	if err := json.Unmarshal(raw, &k); err != nil {
		return nil, errkind.New(errkind.Corrupt, "key: %w", err)
	}
	switch k.Type {
	case "EC":
		return ecKey(k.Curve, k.X, k.Y)
	case "RSA":
		return rsaKey(k.N, k.E)
	}
	return nil, errkind.New(errkind.Unsupported, "key of type %q", k.Type)
}

func ecKey(name, x, y string) (crypto.PublicKey, error) {
	var curve elliptic.Curve
	switch name {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, errkind.New(errkind.Unsupported, "curve %q", name)
	}
	n := (curve.Params().BitSize + 7) / 8
	point := make([]byte, 1+2*n)
	point[0] = 4 // uncompressed form, SEC 1 section 2.3.3
	for i, s := range []string{x, y} {
		b, err := decodeURL(s)
		if err != nil || len(b) > n {
			return nil, errkind.New(errkind.Corrupt, "key: malformed coordinate")
		}
		copy(point[1+(i+1)*n-len(b):], b)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, errkind.New(errkind.Corrupt, "key: %w", err)
	}
	return key, nil
}

func rsaKey(n, e string) (crypto.PublicKey, error) {
	modulus, err := decodeURL(n)
	if err != nil || len(modulus) > maxRSA/8+1 {
		return nil, errkind.New(errkind.Corrupt, "key: malformed modulus")
	}
	exponent, err := decodeURL(e)
	if err != nil || len(exponent) == 0 || len(exponent) > 4 {
		return nil, errkind.New(errkind.Corrupt, "key: malformed exponent")
	}
	return checkKey(&rsa.PublicKey{
		N: new(big.Int).SetBytes(modulus),
		E: int(new(big.Int).SetBytes(exponent).Int64()),
	})
}

// checkKey refuses keys with which a check would be meaningless or endless.
func checkKey(key crypto.PublicKey) (crypto.PublicKey, error) {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return key, nil
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, errkind.New(errkind.Unsupported, "RSA key of %d bits", bits)
		}
		return key, nil
	}
	return nil, errkind.New(errkind.Unsupported, "key of type %T", key)
}
