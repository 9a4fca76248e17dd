package testregistryv1

import (
	"bufio"
	"net/http"
	"net/textproto"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// Exchange is one question and the recorded answer.
type Exchange struct {
	Ask       string // "GET images/…/json", "PUT …", "RANGE bytes=0-9" or "WHOLE" (both of the first image's layer), "" for the ping
	Raw       string // the answer as recorded: status line, headers, blank line, body; "" if only Status and Body are known
	Status    int    // 0: the connection was closed without an answer
	Header    http.Header
	Body      string
	BodyBytes int // length of the body where it was not kept, else -1
}

var pushLine = regexp.MustCompile(`^(.*) \[(\d+)\](?: (.*))?$`)

// ReadTranscript reads a recording (see testdata/README.md).
func ReadTranscript(path string) ([]Exchange, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []Exchange
	ask := "GET _ping"
	var lines []string
	end := func() {
		if text := strings.Join(lines, "\n"); ask != "" {
			out = append(out, parseExchange(ask, text))
		}
		ask, lines = "", nil
	}
	sc := bufio.NewScanner(strings.NewReader(string(b)))
	for sc.Scan() {
		line := sc.Text()
		m := pushLine.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "--- "):
			end()
			ask = askOf(strings.TrimPrefix(line, "--- "))
		case m != nil && ask == "PUT repositories/foo/bar/":
			lines = append(lines, m[1])
			end()
		case m != nil && strings.HasPrefix(ask, "GET images/"):
			out = append(out, pushed(ask, m))
			ask = ""
		case m != nil:
			out = append(out, pushed("PUT "+m[3], m))
		case strings.HasPrefix(line, "HTTP/1.1 ") && len(lines) > 0:
			end()
			ask, lines = "PUT repositories/foo/bar/", []string{line}
		default:
			lines = append(lines, line)
		}
	}
	end()
	return out, sc.Err()
}

// inProgress is the image whose JSON is asked for before it is complete.
const inProgress = "GET images/2222222222222222222222222222222222222222222222222222222222222222/json"

func askOf(title string) string {
	switch {
	case strings.HasPrefix(title, "json while in progress"):
		return inProgress
	case strings.HasPrefix(title, "layer Range "):
		return "RANGE " + strings.TrimPrefix(title, "layer Range ")
	case title == "whole":
		return "WHOLE"
	}
	return title
}

func pushed(ask string, m []string) Exchange {
	status, _ := strconv.Atoi(m[2]) // digits by the pattern
	return Exchange{Ask: ask, Status: status, Body: m[1], BodyBytes: -1}
}

func parseExchange(ask, text string) Exchange {
	e := Exchange{Ask: ask, BodyBytes: -1}
	if strings.TrimSpace(text) == "" {
		return e
	}
	head, body, _ := strings.Cut(text, "\n\n")
	status, rest, _ := strings.Cut(head, "\n")
	e.Status, _ = strconv.Atoi(strings.Fields(status)[1])
	h, _ := textproto.NewReader(bufio.NewReader(strings.NewReader(rest + "\n\n"))).ReadMIMEHeader()
	e.Header = http.Header(h)
	body = strings.TrimSuffix(body, "\n")
	if n, ok := strings.CutPrefix(body, "body bytes "); ok {
		e.BodyBytes, _ = strconv.Atoi(n)
		body = ""
	}
	if body == "same" {
		e.BodyBytes, body = LayerBytes, ""
	}
	e.Body = body
	e.Raw = strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body
	return e
}

// LayerBytes is the length of the layer that the recordings ask ranges of.
const LayerBytes = 10240
