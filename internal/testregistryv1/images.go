package testregistryv1

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

var imageID = regexp.MustCompile(`^([a-f0-9]{16}|[a-f0-9]{64})$`)

// lookup finds the image of the route, or answers why not.
func (c *call) lookup() (Image, bool) {
	id := c.args[0]
	if c.q.CheckIDs && !imageID.MatchString(id) {
		c.fail(http.StatusNotFound, "Invalid image ID")
		return Image{}, false
	}
	img, ok := c.Store.image(id)
	if !ok {
		c.fail(http.StatusNotFound, c.notFoundText("Image not found", "Image not found: open DIR: no such file or directory"))
		return Image{}, false
	}
	if !img.Done && c.q.Uploading {
		c.fail(http.StatusBadRequest, "Image is being uploaded, retry later")
		return Image{}, false
	}
	return img, true
}

func (c *call) ancestry() {
	if !c.authorized("") {
		return
	}
	img, ok := c.lookup()
	if !ok || c.unchanged() {
		return
	}
	ids, ok := c.Store.ancestry(img.ID)
	if !ok {
		c.fail(http.StatusNotFound, "Image not found")
		return
	}
	c.cacheable()
	c.sendJSON(http.StatusOK, ids)
}

var dockerAgent = regexp.MustCompile(`docker/\d+\.\d+`)

func (c *call) json() {
	if !c.authorized("") {
		return
	}
	if c.r.Method == http.MethodPut {
		c.putJSON()
		return
	}
	if c.q.CheckAgent && !dockerAgent.MatchString(c.r.UserAgent()) {
		c.fail(http.StatusBadRequest, "Cannot parse Docker version")
		return
	}
	img, ok := c.lookup()
	if !ok || c.unchanged() {
		return
	}
	c.cacheable()
	h := c.w.Header()
	if !c.q.NoSize {
		h.Set("X-Docker-Size", fmt.Sprint(len(img.Layer)))
	}
	if c.q.ChecksumBack && len(img.Checksums) > 0 {
		h["X-Docker-Checksum-Payload"] = img.Checksums
	}
	c.send(http.StatusOK, c.jsonType(), img.JSON)
}

func (c *call) jsonType() string {
	switch {
	case c.q.QuietError:
		return "text/plain; charset=utf-8"
	case c.q.JSON != "":
		return c.q.JSON
	}
	return "application/json"
}

func (c *call) putJSON() {
	b, err := io.ReadAll(io.LimitReader(c.r.Body, maxPut))
	var doc struct {
		ID string `json:"id"`
	}
	if err != nil || json.Unmarshal(b, &doc) != nil || doc.ID != c.args[0] {
		c.fail(http.StatusBadRequest, "Invalid JSON")
		return
	}
	if img, ok := c.Store.image(doc.ID); ok && img.Done {
		c.fail(http.StatusConflict, "Image already exists")
		return
	}
	c.Store.mu.Lock()
	c.Store.mu.images[doc.ID] = &Image{ID: doc.ID, JSON: b}
	c.Store.mu.Unlock()
	c.pushed()
}

func (c *call) putLayer() {
	b, err := io.ReadAll(io.LimitReader(c.r.Body, maxPut))
	img, ok := c.Store.image(c.args[0])
	switch {
	case err != nil:
		c.fail(http.StatusBadRequest, "Cannot read the layer")
	case !ok:
		c.fail(http.StatusNotFound, "Image not found")
	case img.Done:
		c.fail(http.StatusConflict, "Image already exists")
	default:
		c.Store.Change(img.ID, func(i *Image) { i.Layer = b })
		c.pushed()
	}
}

// checksum ends the push of an image.
func (c *call) checksum() {
	if c.r.Method != http.MethodPut || !c.authorized("") {
		return
	}
	img, ok := c.Store.image(c.args[0])
	given := c.r.Header.Get("X-Docker-Checksum-Payload")
	switch {
	case !ok:
		c.fail(http.StatusNotFound, "Image not found")
	case img.Done:
		c.fail(http.StatusConflict, "Cannot set this image checksum")
	case given != PayloadChecksum(img.JSON, img.Layer) && c.q.ChecksumBack:
		c.fail(http.StatusBadRequest, "Checksum mismatch, ignoring the layer")
	default:
		c.Store.Change(img.ID, func(i *Image) { i.Checksums, i.Done = []string{given}, true })
		c.pushed()
	}
}

func (c *call) layer() {
	if !c.authorized("") {
		return
	}
	if c.r.Method == http.MethodPut {
		c.putLayer()
		return
	}
	if _, ok := c.Store.image(c.args[0]); !ok && c.q.CloseMissing {
		panic(http.ErrAbortHandler)
	}
	img, ok := c.lookup()
	if !ok || c.unchanged() {
		return
	}
	data := img.Layer
	if c.fault.Damage {
		data = slices.Clone(data)
		data[len(data)/2] ^= 1
	}
	c.cacheable()
	c.w.Header().Set("Content-Type", c.q.LayerType)
	switch c.q.Ranges {
	case RangesPython:
		c.pythonLayer(data)
	case RangesIgnored:
		c.fault.override(c.w.Header())
		c.w.WriteHeader(http.StatusOK)
		c.stream(data, len(data), true)
	default:
		c.properLayer(data)
	}
}

// properLayer follows RFC 9110 for single ranges.
func (c *call) properLayer(data []byte) {
	h := c.w.Header()
	h.Set("Accept-Ranges", "bytes")
	lo, hi, ok := rangeOf(c.r.Header.Get("Range"), len(data))
	if !ok {
		c.whole(data)
		return
	}
	if lo >= len(data) {
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", len(data)))
		c.w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	hi = min(hi, len(data)-1)
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", lo, hi, len(data)))
	c.part(data[lo:hi+1], hi+1-lo)
}

// pythonLayer is what docker-registry 0.9.1 does: "lo-hi" has no unit, an open end
// is taken for one byte too many, ranges of one byte are refused, and so is the
// whole of an empty layer.
func (c *call) pythonLayer(data []byte) {
	h := c.w.Header()
	h.Set("Accept-Ranges", "bytes")
	lo, hi, ok := rangeOf(c.r.Header.Get("Range"), len(data)+1)
	if !ok && len(data) > 0 {
		c.whole(data)
		return
	}
	if !ok || hi < lo+1 || lo >= len(data) {
		h.Set("Content-Length", "0")
		c.fault.override(h)
		c.w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	hi = min(hi, len(data))
	h.Set("Content-Range", fmt.Sprintf("%d-%d/%d", lo, hi, len(data)))
	c.part(data[lo:min(hi+1, len(data))], hi+1-lo)
}

// rangeOf reads "bytes=lo-hi" and "bytes=lo-"; an open end is the last byte.
func rangeOf(v string, size int) (lo, hi int, ok bool) {
	if n, _ := fmt.Sscanf(v, "bytes=%d-%d", &lo, &hi); n == 2 {
		return lo, hi, true
	}
	if n, _ := fmt.Sscanf(v, "bytes=%d-", &lo); n == 1 && strings.HasSuffix(v, "-") {
		return lo, size - 1, true
	}
	return 0, 0, false
}

func (c *call) whole(data []byte) {
	promised := len(data)
	c.w.Header().Set("Content-Length", fmt.Sprint(promised))
	c.fault.override(c.w.Header())
	if c.fault.Drop > 0 && !c.fault.KeepLength {
		c.w.Header().Set("Content-Length", fmt.Sprint(promised-c.fault.Drop))
	}
	c.w.WriteHeader(http.StatusOK)
	c.stream(data, promised, false)
}

func (c *call) part(data []byte, promised int) {
	c.w.Header().Set("Content-Length", fmt.Sprint(promised))
	c.fault.override(c.w.Header())
	c.w.WriteHeader(http.StatusPartialContent)
	c.stream(data, promised, false)
}

// stream writes the body and what goes wrong with it. Where fewer bytes come than
// were promised, the connection stays open until the client has enough, as the
// Python server's did.
func (c *call) stream(data []byte, promised int, chunked bool) {
	f := c.fault
	data = data[:len(data)-min(f.Drop, len(data))]
	cut := f.CutAfter > 0 && f.CutAfter < len(data)
	if cut {
		data = data[:f.CutAfter]
	}
	if f.BytePause > 0 {
		c.slowly(data)
	} else {
		_, _ = c.w.Write(data) // the client may be gone
	}
	if cut {
		c.flush()
		panic(http.ErrAbortHandler)
	}
	if !chunked && f.Drop == 0 && len(data) < promised {
		c.flush()
		<-c.r.Context().Done()
	}
}

func (c *call) flush() {
	if f, ok := c.w.(http.Flusher); ok {
		f.Flush()
	}
}

func (c *call) slowly(data []byte) {
	for piece := range slices.Chunk(data, 4<<10) {
		_, _ = c.w.Write(piece)
		c.flush()
		select {
		case <-c.r.Context().Done():
			return
		case <-time.After(c.fault.BytePause):
		}
	}
}
