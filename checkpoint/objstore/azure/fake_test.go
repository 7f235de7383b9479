// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const containerName = "container"

// fake is a container that speaks as much of the protocol as the driver uses. Where script has an answer for a
// method, it is given instead.
type fake struct {
	mu struct {
		sync.Mutex
		objects map[string]object
		blocks  map[string][]byte // by object and id
		script  map[string][]answer
		writes  []*http.Request
	}
	ignoreRanges, ignoreConditions, hierarchical bool
}

type object struct {
	content  []byte
	modified time.Time
}

type answer struct {
	status int
	code   string
	apply  bool // the request takes effect although the answer says otherwise
	drop   bool // the connection is cut instead of an answer
}

func newFake(t *testing.T) (*fake, string) {
	f := &fake{}
	f.mu.objects, f.mu.blocks, f.mu.script = map[string]object{}, map[string][]byte{}, map[string][]answer{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, server.URL + "/account"
}

func (f *fake) answer(method string, answers ...answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.script[method] = answers
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/account/"+containerName)
	if !ok {
		refuse(w, http.StatusNotFound, "ContainerNotFound")
		return
	}
	name, err := url.PathUnescape(strings.TrimPrefix(rest, "/"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidUri")
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
		refuse(w, script[0].status, script[0].code)
		return
	}
	switch {
	case r.Method == http.MethodPut:
		f.write(w, r, name, content)
	case r.URL.Query().Get("comp") == "list":
		f.list(w, r)
	case r.Method == http.MethodDelete:
		f.remove(w, name)
	default:
		f.read(w, r, name)
	}
}

func (f *fake) write(w http.ResponseWriter, r *http.Request, name string, content []byte) {
	f.mu.writes = append(f.mu.writes, r)
	digest := md5.Sum(content)
	switch operation := r.URL.Query().Get("comp"); {
	case operation != "blocklist" && r.Header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(digest[:]):
		refuse(w, http.StatusBadRequest, "Md5Mismatch")
		return
	case operation == "block":
		f.mu.blocks[name+"\n"+r.URL.Query().Get("blockid")] = content
		w.WriteHeader(http.StatusCreated)
		return
	case operation == "blocklist":
		var list struct{ Latest []string }
		if err := xml.Unmarshal(content, &list); err != nil {
			refuse(w, http.StatusBadRequest, "InvalidXmlDocument")
			return
		}
		content = nil
		for _, id := range list.Latest {
			block, ok := f.mu.blocks[name+"\n"+id]
			if !ok {
				refuse(w, http.StatusBadRequest, "InvalidBlockList")
				return
			}
			content = append(content, block...)
		}
	}
	if _, taken := f.mu.objects[name]; taken && r.Header.Get("If-None-Match") == "*" && !f.ignoreConditions {
		refuse(w, http.StatusConflict, "BlobAlreadyExists")
		return
	}
	f.mu.objects[name] = object{content, time.Now()}
	maps.DeleteFunc(f.mu.blocks, func(id string, _ []byte) bool { return strings.HasPrefix(id, name+"\n") })
	w.WriteHeader(http.StatusCreated)
}

func (f *fake) read(w http.ResponseWriter, r *http.Request, name string) {
	o, ok := f.mu.objects[name]
	if !ok {
		refuse(w, http.StatusNotFound, "BlobNotFound")
		return
	}
	if asked := r.Header.Get("X-Ms-Range"); asked != "" {
		r.Header.Set("Range", asked)
	}
	if f.ignoreRanges {
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "", o.modified, bytes.NewReader(o.content))
}

func (f *fake) remove(w http.ResponseWriter, name string) {
	if _, ok := f.mu.objects[name]; !ok {
		refuse(w, http.StatusNotFound, "BlobNotFound")
		return
	}
	delete(f.mu.objects, name)
	w.WriteHeader(http.StatusAccepted)
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	const pageSize = 500 // the server may give fewer than it could
	query := r.URL.Query()
	names := slices.Sorted(maps.Keys(f.mu.objects))
	if f.hierarchical {
		folders := func(name string) string { return strings.ReplaceAll(name, "/", "\x00") }
		slices.SortFunc(names, func(a, b string) int { return strings.Compare(folders(a), folders(b)) })
	}
	var items strings.Builder
	listed, next := 0, ""
	for _, name := range names {
		if !strings.HasPrefix(name, query.Get("prefix")) || name < query.Get("marker") {
			continue
		}
		if listed == pageSize {
			next = name
			break
		}
		listed++
		o := f.mu.objects[name]
		var escaped bytes.Buffer
		_ = xml.EscapeText(&escaped, []byte(name))
		fmt.Fprintf(&items, "<Blob><Name>%s</Name><Properties><Last-Modified>%s</Last-Modified><Content-Length>%d</Content-Length></Properties></Blob>",
			&escaped, o.modified.UTC().Format(http.TimeFormat), len(o.content))
	}
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprintf(w, "<EnumerationResults><Blobs>%s</Blobs><NextMarker>%s</NextMarker></EnumerationResults>", &items, next)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Ms-Error-Code", code)
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>refused</Message></Error>", code)
}
