package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"syscall"

	"github.com/peelfs/peelfs/internal/errkind"
)

// queryText is the query of any URL in a text: signed redirects keep their
// secrets there. userText is a password before a host.
var (
	queryText = regexp.MustCompile(`\?[^\s"'<>]+`)
	userText  = regexp.MustCompile(`//[^/\s"'@]+@`)
)

// Redact removes from a text what may be secret in the URLs it quotes.
func Redact(s string) string {
	return userText.ReplaceAllString(queryText.ReplaceAllString(s, "?…"), "//…@")
}

// RedactURL is u for logs and errors: no user, no query, no fragment.
func RedactURL(u *url.URL) string {
	if u == nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// redacted shows a harmless text and keeps the chain for errors.Is.
type redacted struct{ error }

func (e redacted) Error() string { return Redact(e.error.Error()) }
func (e redacted) Unwrap() error { return e.error }

// Classify gives an error of the network its kind and a hint. host is whom we
// spoke to. An error that has a kind keeps it.
func Classify(err error, host string) error {
	if err == nil {
		return nil
	}
	var typed *errkind.Error
	if errors.As(err, &typed) {
		return err
	}
	var u *url.Error
	if errors.As(err, &u) && (errors.Is(err, context.Canceled) || !u.Timeout()) {
		err = u.Err // the URL says nothing that host does not, and may hold secrets
	}
	err = redacted{err}
	switch {
	case errors.Is(err, context.Canceled):
		return errkind.Wrap(errkind.Canceled, err)
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return errkind.WithHint(errkind.New(errkind.Timeout, "%s does not answer: %w", host, err),
			"check the network and the proxy variables; --io-timeout says how long to wait")
	}
	if hint := tlsHint(err, host); hint != "" {
		return errkind.WithHint(errkind.New(errkind.Denied, "%s: %w", host, err), "%s", hint)
	}
	return errkind.WithHint(errkind.New(errkind.Unavailable, "%s: %w", host, err), "%s", netHint(err, host))
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// tlsHint recognises failures that another attempt cannot mend.
func tlsHint(err error, host string) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var header tls.RecordHeaderError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &header):
		return "the registry speaks http: use --plain-http if you trust the way to it"
	case errors.As(err, &authority):
		return "give the registry's authority with --ca-file, or --tls-verify=false if you trust the way to it"
	case errors.As(err, &name):
		return "the certificate is for another name: check the reference"
	case errors.As(err, &invalid):
		return "the certificate of " + host + " is not valid: check its dates and this machine's clock"
	}
	return ""
}

func netHint(err error, host string) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host: check the name of the registry and the network"
	case errors.As(err, &dns):
		return "the name server does not answer: check the network"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check the port of " + host
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "check the network and the proxy variables"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "the connection broke: try again"
	}
	return "try again, and check the network if it lasts"
}
