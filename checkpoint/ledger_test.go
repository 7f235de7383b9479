// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"context"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// ledger is a store that holds every write against the promises of the package, at the moment of its effect:
//
//   - a document that names objects is created only while all of them are there;
//   - an object is deleted only while no document names it;
//   - a manifest is deleted only while its round does not count as complete;
//   - nothing of a round goes that has a confirmed savepoint, nor the newest complete round of the present life.
type ledger struct {
	inner objstore.Store
	touch func(name string) error // gives an object the present time; nil: the store has done so itself
	mu    struct {
		sync.RWMutex
		documents map[string][]string        // objects by the document that names them
		named     map[string]map[string]bool // documents by object
		saved     map[string]int             // confirmed savepoints, by the folder of the round
		broken    []string                   // promises
	}
}

func newLedger(inner objstore.Store, touch func(string) error) *ledger {
	l := &ledger{inner: inner, touch: touch}
	l.mu.documents, l.mu.named, l.mu.saved = map[string][]string{}, map[string]map[string]bool{}, map[string]int{}
	return l
}

func (l *ledger) breach(texts ...string) { l.mu.broken = append(l.mu.broken, strings.Join(texts, " ")) }

// save counts confirmed savepoints of a round.
func (l *ledger) save(of life, round int64, change int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.saved[of.round(round)] += change
}

// breaches are the broken promises.
func (l *ledger) breaches() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Clone(l.mu.broken)
}

func (l *ledger) Put(ctx context.Context, name string, body objstore.Body) error {
	return l.write(ctx, name, body, l.inner.Put)
}

func (l *ledger) Create(ctx context.Context, name string, body objstore.Body) error {
	return l.write(ctx, name, body, l.inner.Create)
}

func (l *ledger) write(ctx context.Context, name string, body objstore.Body, give func(context.Context, string, objstore.Body) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := give(ctx, name, body); err != nil {
		return err
	}
	if l.touch != nil {
		if err := l.touch(name); err != nil {
			return err
		}
	}
	files, isDocument := filesNamed(name, body)
	if !isDocument {
		return nil
	}
	for _, f := range files {
		if _, err := l.inner.Stat(ctx, f.Object); err != nil {
			l.breach(name, "is created and names", f.Object, "which is gone")
		}
		if l.mu.named[f.Object] == nil {
			l.mu.named[f.Object] = map[string]bool{}
		}
		l.mu.named[f.Object][name] = true
		l.mu.documents[name] = append(l.mu.documents[name], f.Object)
	}
	return nil
}

// filesNamed reads a manifest or a round record.
func filesNamed(name string, body objstore.Body) (files []File, ok bool) {
	document, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		return nil, false
	}
	switch {
	case strings.Contains(name, "/tasks/"):
		m, err := DecodeManifest(document)
		return m.Files, err == nil
	case strings.HasSuffix(name, "/complete"):
		var rec roundRecord
		_, err := decode(kindRound, document, &rec)
		for _, c := range rec.Channels {
			files = append(files, c.File)
		}
		return files, err == nil
	}
	return nil, false
}

func (l *ledger) Delete(ctx context.Context, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.inner.Delete(ctx, name); err != nil {
		return err
	}
	for document := range l.mu.named[name] {
		l.breach(name, "is deleted although", document, "names it")
	}
	for _, object := range l.mu.documents[name] {
		delete(l.mu.named[object], name)
	}
	delete(l.mu.documents, name)
	before, after, isRound := strings.Cut(name, "/rounds/")
	if !isRound {
		return nil
	}
	number, entry, _ := strings.Cut(after, "/")
	folder := before + "/rounds/" + number + "/"
	if entry != "started" && l.mu.saved[folder] > 0 {
		l.breach(name, "is deleted although its round has a savepoint")
	}
	if _, err := l.inner.Stat(ctx, folder+"complete"); err == nil && strings.HasPrefix(entry, "tasks/") && !l.below(ctx, before, number) {
		l.breach(name, "is deleted although its round counts as complete")
	}
	if entry == "complete" {
		l.checkNewest(ctx, before, name)
	}
	return nil
}

// below says whether a round is below the floor: a record of it that was created too late does not count.
func (l *ledger) below(ctx context.Context, root, number string) bool {
	for info := range l.inner.List(ctx, root+"/gc/floor/") {
		if strings.TrimPrefix(info.Name, root+"/gc/floor/") > number {
			return true
		}
	}
	return false
}

// checkNewest makes sure that a newer round is complete, or that the life is over.
func (l *ledger) checkNewest(ctx context.Context, root, deleted string) {
	for info := range l.inner.List(ctx, root+"/rounds/") {
		if strings.HasSuffix(info.Name, "/complete") && info.Name > deleted {
			return
		}
	}
	app, _, _ := strings.Cut(root, "/")
	if incarnation, ok := parseIncarnation(app, root+"/"); ok {
		if _, err := l.inner.Stat(ctx, life{app, incarnation + 1}.application()); err == nil {
			return
		}
	}
	l.breach(deleted, "is deleted although no newer round is complete")
}

func (l *ledger) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.inner.Get(ctx, name)
}

func (l *ledger) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.inner.GetRange(ctx, name, offset, length)
}

func (l *ledger) Stat(ctx context.Context, name string) (objstore.Info, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.inner.Stat(ctx, name)
}

// List takes its time as a listing in pages does: what comes and goes meanwhile may be seen or not.
func (l *ledger) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for begin := ""; ; {
			page, err := l.page(ctx, prefix, begin)
			if err != nil {
				yield(objstore.Info{}, err)
				return
			}
			for _, info := range page {
				if !yield(info, nil) {
					return
				}
				begin = info.Name
			}
			if len(page) < ledgerPage {
				return
			}
			pass(time.Second)
		}
	}
}

const ledgerPage = 20

func (l *ledger) page(ctx context.Context, prefix, after string) (page []objstore.Info, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for info, err := range l.inner.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		if info.Name > after {
			page = append(page, info)
		}
		if len(page) == ledgerPage {
			break
		}
	}
	return page, nil
}

// late is a client's way to a store on which some writes are overtaken: the call fails, and takes effect up to most later.
type late struct {
	objstore.Store
	most    time.Duration
	pending *sync.WaitGroup
	mu      *sync.Mutex
	rng     *rand.Rand
}

func (l late) after() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.rng.Int64N(int64(l.most))), l.rng.IntN(25) == 0
}

func (l late) Create(ctx context.Context, name string, body objstore.Body) error {
	return l.do(ctx, name, body, l.Store.Create)
}

func (l late) Put(ctx context.Context, name string, body objstore.Body) error {
	return l.do(ctx, name, body, l.Store.Put)
}

func (l late) Delete(ctx context.Context, name string) error {
	return l.do(ctx, name, bytes.NewReader(nil), func(ctx context.Context, name string, _ objstore.Body) error {
		return l.Store.Delete(ctx, name)
	})
}

func (l late) do(ctx context.Context, name string, body objstore.Body, call func(context.Context, string, objstore.Body) error) error {
	after, isLate := l.after()
	if !isLate || ctx.Err() != nil {
		return call(ctx, name, body)
	}
	content := make([]byte, body.Size())
	if _, err := body.ReadAt(content, 0); err != nil && err != io.EOF {
		return err
	}
	l.pending.Go(func() {
		pass(after)
		_ = call(context.WithoutCancel(ctx), name, bytes.NewReader(content)) // nobody waits for the answer
	})
	return objstore.Transient(errLate)
}
