// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
)

// Trouble is a way in which stores misbehave.
type Trouble string

// The troubles.
const (
	Busy     Trouble = "busy"     // every call is refused for now, as by 503
	Expired  Trouble = "expired"  // every call is refused since the credentials have expired
	Hanging  Trouble = "hanging"  // no call is answered for a long time
	Lost     Trouble = "lost"     // a write takes effect and its reply does not come
	Conflict Trouble = "conflict" // a Create is refused because of another of the name that is under way
	Broken   Trouble = "broken"   // a content breaks off in the middle
)

// Troubled makes a new empty store and returns it with a function that makes its next n calls that the trouble is
// about misbehave so.
type Troubled func(t *testing.T) (s objstore.Store, inject func(trouble Trouble, n int))

// breakAfter is how many bytes of a content come before it breaks off.
const breakAfter = 40_000

// ThroughCalls makes the calls of a store misbehave.
func ThroughCalls(s objstore.Store) (objstore.Store, func(Trouble, int)) {
	faulty := fault.New(s, nil)
	return faulty, func(trouble Trouble, n int) {
		left := n
		faulty.SetHook(func(op fault.Op) fault.Fault {
			f, concerned := callFault(trouble, op)
			if left == 0 || !concerned {
				return fault.Fault{}
			}
			left--
			return f
		})
	}
}

func callFault(trouble Trouble, op fault.Op) (f fault.Fault, concerned bool) {
	switch trouble {
	case Hanging:
		return fault.Fault{Delay: time.Hour}, true
	case Lost:
		return fault.Fault{After: fault.Unavailable(op)}, op.Kind == fault.Put || op.Kind == fault.Create || op.Kind == fault.Delete
	case Conflict:
		return fault.Fault{Before: fault.Unavailable(op)}, op.Kind == fault.Create
	case Broken:
		return fault.Fault{Break: breakAfter}, op.Kind == fault.Get
	default:
		return fault.Fault{Before: fault.Unavailable(op)}, true
	}
}

// ThroughRequests makes the HTTP requests of a driver misbehave. answers are what its server says to Busy, Expired
// and Conflict.
func ThroughRequests(transport *fault.Transport, answers map[Trouble]fault.Wire) func(Trouble, int) {
	return func(trouble Trouble, n int) {
		var mu sync.Mutex
		left := n
		transport.SetHook(func(r *http.Request) fault.Wire {
			mu.Lock()
			defer mu.Unlock()
			w, concerned := requestFault(trouble, r.Method, answers)
			if left == 0 || !concerned {
				return fault.Wire{}
			}
			left--
			return w
		})
	}
}

func requestFault(trouble Trouble, method string, answers map[Trouble]fault.Wire) (w fault.Wire, concerned bool) {
	uploads := method == http.MethodPut || method == http.MethodPost
	switch trouble {
	case Hanging:
		return fault.Wire{Delay: time.Hour}, true
	case Lost:
		return fault.Wire{Applied: true, Cut: true}, uploads || method == http.MethodDelete
	case Conflict:
		return answers[trouble], uploads
	case Broken:
		return fault.Wire{Break: breakAfter}, method == http.MethodGet
	default:
		return answers[trouble], true
	}
}

// RunTroubled runs the suite of what objstore.Retry makes of a store that misbehaves.
func RunTroubled(t *testing.T, open Troubled) {
	for name, run := range map[string]func(*testing.T, Troubled){
		"EveryCallGoesThroughRefusalsThatPass":               refusalsPass,
		"EveryCallThatHangsIsMadeAgain":                      hangsPass,
		"ACallEndsWithItsContextWhateverTheStoreDoes":        contextEnds,
		"AStoreThatStaysAwayIsATransientErrorAfterAFewCalls": staysAway,
		"WritesWhoseRepliesAreLostAreDone":                   lostWrites,
		"ACreateWhoseReplyIsLostIsTheOwn":                    lostCreate,
		"AnothersObjectIsNotTakenForTheOwnAfterATrouble":     anothersCreate,
		"AConflictIsRepeatedUntilItIsClear":                  conflictClears,
		"AContentThatBreaksOffIsReadWhole":                   brokenRead,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, open)
		})
	}
}

// patient repeats at once, and gives up a call that hangs after a while that no honest call takes.
func patient(s objstore.Store) *objstore.Retry {
	return objstore.NewRetry(s, objstore.Policy{Base: time.Microsecond, Stall: 2 * time.Second})
}

// calls are one of each kind, on a store that holds "taken".
var calls = map[string]func(context.Context, objstore.Store) error{
	"get": func(ctx context.Context, s objstore.Store) error { return expectRead(ctx, s, "taken", "content") },
	"get range": func(ctx context.Context, s objstore.Store) error {
		got, err := readRange(ctx, s, "taken", 3, 2)
		if err == nil && got != "te" {
			err = fmt.Errorf("bytes 3 and 4 are %q", got)
		}
		return err
	},
	"put": func(ctx context.Context, s objstore.Store) error { return s.Put(ctx, "put", strings.NewReader("x")) },
	"create": func(ctx context.Context, s objstore.Store) error {
		return s.Create(ctx, "created", strings.NewReader("x"))
	},
	"delete": func(ctx context.Context, s objstore.Store) error { return s.Delete(ctx, "deleted") },
	"stat": func(ctx context.Context, s objstore.Store) error {
		info, err := s.Stat(ctx, "taken")
		if err == nil && info.Size != int64(len("content")) {
			err = fmt.Errorf("stat tells %+v", info)
		}
		return err
	},
	"list": func(ctx context.Context, s objstore.Store) error {
		n := 0
		for _, err := range s.List(ctx, "taken") {
			if err != nil {
				return err
			}
			n++
		}
		if n != 1 {
			return fmt.Errorf("%d objects are listed", n)
		}
		return nil
	},
}

func expectRead(ctx context.Context, s objstore.Store, name, want string) error {
	got, err := objstore.ReadAll(ctx, s, name, 1<<20)
	if err == nil && string(got) != want {
		err = fmt.Errorf("object %s holds %.40q, want %.40q", name, got, want)
	}
	return err
}

func refusalsPass(t *testing.T, open Troubled) {
	for _, trouble := range []Trouble{Busy, Expired} {
		s, inject := open(t)
		put(t, s, "taken", "content")
		retry := patient(s)
		for name, call := range calls {
			inject(trouble, 3)
			if err := call(t.Context(), retry); err != nil {
				t.Errorf("%s, %s: %v", trouble, name, err)
			}
		}
	}
}

func hangsPass(t *testing.T, open Troubled) {
	s, inject := open(t)
	put(t, s, "taken", "content")
	retry := objstore.NewRetry(s, objstore.Policy{Base: time.Microsecond, Stall: 200 * time.Millisecond, Attempts: 50})
	for name, call := range calls {
		inject(Hanging, 1)
		if err := call(t.Context(), retry); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func contextEnds(t *testing.T, open Troubled) {
	s, inject := open(t)
	put(t, s, "taken", "content")
	retry := objstore.NewRetry(s, objstore.Policy{Base: time.Hour, Cap: time.Hour})
	for _, trouble := range []Trouble{Hanging, Busy} {
		for name, call := range calls {
			inject(trouble, 1000)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			err := call(ctx, retry)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s, %s: error is %v, want the context's", trouble, name, err)
			}
		}
	}
}

func staysAway(t *testing.T, open Troubled) {
	s, inject := open(t)
	put(t, s, "taken", "content")
	for name, call := range calls {
		repeats := 0
		var mu sync.Mutex
		retry := objstore.NewRetry(s, objstore.Policy{Base: time.Microsecond, Attempts: 4, OnRetry: func(objstore.RetryInfo) {
			mu.Lock()
			defer mu.Unlock()
			repeats++
		}})
		inject(Busy, 1000)
		if err := call(t.Context(), retry); !errors.Is(err, objstore.ErrTransient) || repeats != 3 {
			t.Errorf("%s: error is %v after %d repeats, want a transient one after 3", name, err, repeats)
		}
	}
}

func lostWrites(t *testing.T, open Troubled) {
	s, inject := open(t)
	retry := patient(s)
	inject(Lost, 2)
	if err := retry.Put(t.Context(), "a", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if err := expectRead(t.Context(), retry, "a", "x"); err != nil {
		t.Error(err)
	}
	inject(Lost, 2)
	if err := retry.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	_, err := retry.Stat(t.Context(), "a")
	expectError(t, err, objstore.ErrNotFound)
}

func lostCreate(t *testing.T, open Troubled) {
	s, inject := open(t)
	retry := patient(s)
	for _, size := range []int{0, 1, 100_000} {
		name := fmt.Sprintf("own/%d", size)
		inject(Lost, 2)
		if err := retry.Create(t.Context(), name, strings.NewReader(strings.Repeat("x", size))); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func anothersCreate(t *testing.T, open Troubled) {
	for _, trouble := range []Trouble{Conflict, Busy, Expired, Lost} {
		s, inject := open(t)
		put(t, s, "fence", "theirs")
		inject(trouble, 1)
		err := patient(s).Create(t.Context(), "fence", strings.NewReader("mine"))
		if !errors.Is(err, objstore.ErrExists) {
			t.Errorf("%s: error is %v, want ErrExists", trouble, err)
		}
		if err := expectRead(t.Context(), s, "fence", "theirs"); err != nil {
			t.Errorf("%s: %v", trouble, err)
		}
	}
}

func conflictClears(t *testing.T, open Troubled) {
	s, inject := open(t)
	inject(Conflict, 3)
	if err := patient(s).Create(t.Context(), "fence", strings.NewReader("mine")); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "fence", "mine")
}

func brokenRead(t *testing.T, open Troubled) {
	s, inject := open(t)
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	put(t, s, "a", string(content))
	inject(Broken, 2)
	if err := expectRead(t.Context(), patient(s), "a", string(content)); err != nil {
		t.Error(err)
	}
	inject(Broken, 2)
	var got []byte
	err := objstore.ReadFrom(t.Context(), patient(s), "a", 5, func(r io.Reader) (err error) {
		got, err = io.ReadAll(r)
		return err
	})
	if err != nil || !bytes.Equal(got, content[5:]) {
		t.Errorf("read %d bytes from byte 5 on, %v; want %d", len(got), err, len(content)-5)
	}
}
