// SPDX-License-Identifier: Apache-2.0

package gcs_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const bucketName = "bucket"

// fake is a bucket that speaks as much of the JSON API as the driver uses. Where script has an answer for a
// method, it is given instead.
type fake struct {
	mu struct {
		sync.Mutex
		objects map[string]object
		script  map[string][]answer
		writes  []url.Values // parameters of each upload
	}
	ignoreRanges, ignoreConditions bool
}

type object struct {
	content  []byte
	modified time.Time
}

type answer struct {
	status int
	reason string
	apply  bool // the request takes effect although the answer says otherwise
	drop   bool // the connection is cut instead of an answer
}

func newFake(t *testing.T) (*fake, string) {
	f := &fake{}
	f.mu.objects, f.mu.script = map[string]object{}, map[string][]answer{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, server.URL
}

func (f *fake) answer(method string, answers ...answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.script[method] = answers
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, upload, ok := parsePath(r.URL.EscapedPath())
	var content []byte
	if upload {
		var err error
		if name, content, err = readUpload(r); err != nil {
			refuse(w, http.StatusBadRequest, "invalid", err.Error())
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "notFound", "The specified bucket does not exist.")
		return
	}
	if script := f.mu.script[r.Method]; len(script) > 0 {
		f.mu.script[r.Method] = script[1:]
		if script[0].apply {
			f.mu.objects[name] = object{content, time.Now()}
		}
		if script[0].drop {
			panic(http.ErrAbortHandler)
		}
		refuse(w, script[0].status, script[0].reason, "scripted")
		return
	}
	switch {
	case upload:
		f.write(w, r, name, content)
	case name == "":
		f.list(w, r)
	case r.Method == http.MethodDelete:
		f.remove(w, name)
	default:
		f.read(w, r, name)
	}
}

// parsePath takes a path apart; ok is false where it is of another bucket.
func parsePath(path string) (name string, upload, ok bool) {
	path, upload = strings.CutPrefix(path, "/upload")
	rest, ok := strings.CutPrefix(path, "/storage/v1/b/"+bucketName+"/o")
	name, err := url.PathUnescape(strings.TrimPrefix(rest, "/"))
	return name, upload, ok && err == nil
}

// readUpload reads a description and a content, and compares the content with its checksum.
func readUpload(r *http.Request) (string, []byte, error) {
	_, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return "", nil, err
	}
	parts := multipart.NewReader(r.Body, parameters["boundary"])
	described, err := parts.NextPart()
	if err != nil {
		return "", nil, err
	}
	var description struct{ Name, Crc32c string }
	if err := json.NewDecoder(described).Decode(&description); err != nil {
		return "", nil, err
	}
	media, err := parts.NextPart()
	if err != nil {
		return "", nil, err
	}
	content, err := io.ReadAll(media)
	if err != nil {
		return "", nil, err
	}
	sum := crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli))
	if description.Crc32c != base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)) {
		return "", nil, fmt.Errorf("the checksum %s does not match", description.Crc32c)
	}
	return description.Name, content, nil
}

func (f *fake) write(w http.ResponseWriter, r *http.Request, name string, content []byte) {
	f.mu.writes = append(f.mu.writes, r.URL.Query())
	if _, taken := f.mu.objects[name]; taken && r.URL.Query().Get("ifGenerationMatch") == "0" && !f.ignoreConditions {
		refuse(w, http.StatusPreconditionFailed, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
		return
	}
	f.mu.objects[name] = object{content, time.Now()}
	reply(w, f.describe(name))
}

func (f *fake) read(w http.ResponseWriter, r *http.Request, name string) {
	o, ok := f.mu.objects[name]
	switch {
	case !ok && r.URL.Query().Get("alt") == "media":
		// Downloads are refused in plain text.
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, "No such object: %s/%s", bucketName, name)
	case !ok:
		refuse(w, http.StatusNotFound, "notFound", "No such object: "+bucketName+"/"+name)
	case r.URL.Query().Get("alt") != "media":
		reply(w, f.describe(name))
	default:
		if f.ignoreRanges {
			r.Header.Del("Range")
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(o.content)))
	}
}

func (f *fake) remove(w http.ResponseWriter, name string) {
	if _, ok := f.mu.objects[name]; !ok {
		refuse(w, http.StatusNotFound, "notFound", "No such object: "+bucketName+"/"+name)
		return
	}
	delete(f.mu.objects, name)
	w.WriteHeader(http.StatusNoContent)
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	const pageSize = 1000
	query := r.URL.Query()
	items, next := []any{}, ""
	for _, name := range slices.Sorted(maps.Keys(f.mu.objects)) {
		if !strings.HasPrefix(name, query.Get("prefix")) || name < query.Get("pageToken") {
			continue
		}
		if len(items) == pageSize {
			next = name
			break
		}
		items = append(items, f.describe(name))
	}
	reply(w, map[string]any{"items": items, "nextPageToken": next})
}

func (f *fake) describe(name string) map[string]any {
	o := f.mu.objects[name]
	return map[string]any{
		"name": name, "size": fmt.Sprint(len(o.content)), "updated": o.modified.UTC().Format("2006-01-02T15:04:05.000Z"),
	}
}

func reply(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func refuse(w http.ResponseWriter, status int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": status, "message": message, "errors": []any{map[string]any{"reason": reason, "message": message}},
	}})
}
