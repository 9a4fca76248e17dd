package archive

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/peelfs/peelfs/fetch/tarfile"
	"github.com/peelfs/peelfs/internal/errkind"
)

const dockerSocket = "/var/run/docker.sock"

// Daemon asks the docker daemon on this machine to save an image, and spools the
// archive into a nameless file in tmpDir. host is DOCKER_HOST, "" for the usual
// socket; only sockets are spoken to.
func Daemon(ctx context.Context, host, name, tmpDir string) (*tarfile.File, error) {
	socket := dockerSocket
	if host != "" {
		rest, ok := strings.CutPrefix(host, "unix://")
		if !ok {
			return nil, errkind.WithHint(errkind.New(errkind.Unsupported, "DOCKER_HOST is not a local socket"),
				"use docker save and docker-archive:FILE")
		}
		socket = rest
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	tr := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	u := url.URL{Scheme: "http", Host: "docker", Path: "/images/" + name + "/get"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errkind.Wrap(errkind.Invalid, err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, errkind.WithHint(errkind.New(errkind.Unavailable, "docker daemon at %s: %w", socket, err),
			"see that docker runs and that you may use its socket")
	}
	defer resp.Body.Close()
	if err := daemonStatus(resp, name); err != nil {
		return nil, err
	}
	return tarfile.Spool(ctx, resp.Body, "docker-daemon:"+name+"@"+resp.Header.Get("Date"), tmpDir)
}

func daemonStatus(resp *http.Response, name string) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	err := fmt.Errorf("docker daemon: image %s: status %d: %q", name, resp.StatusCode, text)
	if resp.StatusCode == http.StatusNotFound {
		return errkind.Wrap(errkind.NotFound, err)
	}
	return errkind.Wrap(errkind.Unavailable, err)
}
