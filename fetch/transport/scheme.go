package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"
)

// Scheme is "http" or "https", whichever host (with a port, perhaps) is to be
// spoken to with: what the options demand; else https, but http with this machine
// itself unless it was found to speak TLS. A host on loopback for which the user
// has certificates, or wants none checked, is asked for that first, once.
func (t *Transport) Scheme(host string) string {
	switch {
	case t.opt.PlainHTTP:
		return "http"
	case t.opt.HTTPS, !IsLoopback(host):
		return "https"
	}
	t.mu.Lock()
	speaks, asked := t.mu.https[host]
	t.mu.Unlock()
	if !asked && (t.opt.CAFile != "" || t.opt.InsecureTLS || t.certDir(host) != "") {
		speaks = t.askTLS(host)
	}
	if speaks {
		return "https"
	}
	return "http"
}

// UseTLS asks a loopback host whether it speaks TLS, after something went wrong
// with http. It reports whether that is news, so that the caller sends its request
// once more and not for ever.
func (t *Transport) UseTLS(host string) bool {
	if t.Scheme(host) == "https" || t.opt.PlainHTTP {
		return false
	}
	return t.askTLS(host)
}

// askTLS shakes hands with a loopback host and remembers how that went.
func (t *Transport) askTLS(host string) bool {
	speaks := speaksTLS(host)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.https[host] = speaks
	return speaks
}

// handshakeTime is how long a server on this machine has to shake hands.
const handshakeTime = 2 * time.Second

// speaksTLS reports whether what listens at a loopback host answers a handshake.
// Nothing is sent over the connection, so its certificate does not matter here.
func speaksTLS(host string) bool {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), "443")
	}
	conn, err := net.DialTimeout("tcp", host, handshakeTime)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(handshakeTime)) != nil {
		return false
	}
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake()
	var alert tls.AlertError
	return err == nil || errors.As(err, &alert)
}

// IsLoopback reports whether host, with or without a port, is this machine by
// its name alone; nothing is looked up.
func IsLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
