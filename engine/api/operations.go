// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// An operation is something that was asked of the worker and takes its time. It lives in the memory of the worker that was
// asked: what it has brought about is in the object store, and is found there whatever becomes of the worker.

const (
	maxRunning      = 16
	maxOperations   = 256
	keptOperation   = time.Hour // after its end
	operationTime   = 10 * time.Minute
	maxWait         = 50 * time.Second // within the server's write timeout
	maxNote         = 1024
	idempotencyTime = keptOperation
)

// The states of an operation.
const (
	statePending   = "pending"
	stateRunning   = "running"
	stateSucceeded = "succeeded"
	stateFailed    = "failed"
)

// asked is what a client asks for.
type asked struct {
	Action string `json:"action"`
	Name   string `json:"name,omitempty"`
	Note   string `json:"note,omitempty"`
	Stop   bool   `json:"stop,omitempty"`
}

// operation is the resource.
type operation struct {
	ID string `json:"id"`
	asked
	State     string           `json:"state"`
	By        string           `json:"requestedBy"`
	Requested time.Time        `json:"requestedAt"`
	Ended     time.Time        `json:"endedAt,omitzero"`
	Round     int64            `json:"round,omitempty"`       // checkpoint that it has begun, or that the application goes on from
	Stored    int              `json:"tasksStored,omitempty"` // tasks that have stored their part of it
	Error     *operationFailed `json:"error,omitempty"`
}

// operationFailed is why an operation has failed: the code and the text of a problem.
type operationFailed struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// deed does what an operation is for. report may be called to show how far it has come.
type deed func(ctx context.Context, by string, a asked, report func(func(*operation))) error

// operations are those of a worker.
type operations struct {
	log    *zap.Logger
	hub    *hub
	deeds  map[string]deed
	check  map[string]func(asked) error
	ending context.Context // the worker has ended
	hard   context.Context // nothing is waited for any more
	cease  context.CancelFunc
	work   sync.WaitGroup

	mu struct {
		sync.Mutex
		closed  bool
		all     []*operation // oldest first
		keys    map[string]idempotent
		changed chan struct{} // closed at the next change
	}
}

// idempotent is a request that is not to be done twice.
type idempotent struct {
	op   string
	body [sha256.Size]byte
	at   time.Time
}

func newOperations(log *zap.Logger, ending context.Context, h *hub) *operations {
	o := &operations{log: log, hub: h, deeds: map[string]deed{}, check: map[string]func(asked) error{}, ending: ending}
	o.hard, o.cease = context.WithCancel(context.Background())
	o.mu.keys, o.mu.changed = map[string]idempotent{}, make(chan struct{})
	return o
}

// idempotencyKeys are those that a client may choose.
var idempotencyKeys = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)

// begin begins an operation, unless the key says that it was begun already. repeated says so.
func (o *operations) begin(by, key string, a asked) (op operation, repeated bool, err error) {
	body, err := json.Marshal(a, json.Deterministic(true))
	if err != nil {
		return operation{}, false, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forgetLocked(time.Now())
	if key != "" {
		key = by + "\x00" + key
		if known, ok := o.mu.keys[key]; ok {
			if known.body != sha256.Sum256(body) {
				return operation{}, false, Problemf(http.StatusUnprocessableEntity, "idempotency-key-reused", "the key was used for another request: use a new one")
			}
			if found := o.findLocked(known.op); found != nil {
				return *found, true, nil
			}
		}
	}
	if o.mu.closed {
		return operation{}, false, &Problem{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Detail: "the worker is ending: ask another", Retry: time.Second}
	}
	running := 0
	for _, other := range o.mu.all {
		if other.Ended.IsZero() {
			running++
		}
	}
	if running >= maxRunning {
		return operation{}, false, &Problem{Status: http.StatusTooManyRequests, Code: codeBusy, Detail: fmt.Sprintf("%d operations are running, which is the limit", running), Retry: 10 * time.Second}
	}
	begun := &operation{ID: rand.Text(), asked: a, State: statePending, By: by, Requested: time.Now().UTC()}
	o.mu.all = append(o.mu.all, begun)
	if key != "" {
		o.mu.keys[key] = idempotent{begun.ID, sha256.Sum256(body), time.Now()}
	}
	o.changedLocked(begun)
	o.work.Go(func() { o.do(begun) })
	return *begun, false, nil
}

// do does what an operation is for, and notes how that ended.
func (o *operations) do(op *operation) {
	ctx, cancel := context.WithTimeout(o.hard, operationTime)
	defer cancel()
	report := func(change func(*operation)) {
		o.mu.Lock()
		defer o.mu.Unlock()
		change(op)
		o.changedLocked(op)
	}
	report(func(op *operation) { op.State = stateRunning })
	err := o.deeds[op.Action](ctx, op.By, op.asked, report)
	report(func(op *operation) {
		op.Ended, op.State = time.Now().UTC(), stateSucceeded
		if err != nil {
			p := operationProblem(err)
			op.State, op.Error = stateFailed, &operationFailed{p.Code, p.Detail}
		}
	})
	fields := []zap.Field{zap.String("operation", op.ID), zap.String("action", op.Action), zap.String("caller", op.By), zap.String("outcome", op.State)}
	if err != nil {
		fields = append(fields, zap.Error(err))
	}
	o.log.Info("audit", fields...)
}

// changedLocked tells those who wait of a change.
func (o *operations) changedLocked(op *operation) {
	close(o.mu.changed)
	o.mu.changed = make(chan struct{})
	o.hub.publish("operation", *op)
}

// forgetLocked forgets operations that ended long ago, or that are too many.
func (o *operations) forgetLocked(now time.Time) {
	excess := len(o.mu.all) - maxOperations
	o.mu.all = slices.DeleteFunc(o.mu.all, func(op *operation) bool {
		gone := !op.Ended.IsZero() && (now.Sub(op.Ended) > keptOperation || excess > 0)
		if gone {
			excess--
		}
		return gone
	})
	for key, known := range o.mu.keys {
		if (now.Sub(known.at) > idempotencyTime || len(o.mu.keys) > maxOperations) && o.findLocked(known.op) == nil {
			delete(o.mu.keys, key)
		}
	}
}

func (o *operations) findLocked(id string) *operation {
	if i := slices.IndexFunc(o.mu.all, func(op *operation) bool { return op.ID == id }); i >= 0 {
		return o.mu.all[i]
	}
	return nil
}

// get returns an operation, and what is closed when any has changed.
func (o *operations) get(id string) (op operation, found bool, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if known := o.findLocked(id); known != nil {
		return *known, true, o.mu.changed
	}
	return operation{}, false, nil
}

// list returns all, newest first.
func (o *operations) list() []operation {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []operation
	for _, op := range slices.Backward(o.mu.all) {
		all = append(all, *op)
	}
	return all
}

// close lets running operations come to their end, or gives them up when ctx ends.
func (o *operations) close(ctx context.Context) {
	o.mu.Lock()
	o.mu.closed = true
	o.mu.Unlock()
	stop := context.AfterFunc(ctx, o.cease)
	defer stop()
	o.work.Wait()
	o.cease()
}

// operationProblem makes a problem of why an operation has failed.
func operationProblem(err error) *Problem {
	for _, known := range conflicts {
		if errors.Is(err, known.err) {
			return Problemf(http.StatusConflict, known.code, "%v", err)
		}
	}
	return problemOf(err)
}

// postOperation begins an operation. With the parameter wait it answers when that has ended, or the time is over.
func (res *resources) postOperation(w http.ResponseWriter, r *http.Request) error {
	patience, err := patienceOf(r)
	if err != nil {
		return err
	}
	var a asked
	if err := ReadJSON(r, &a); err != nil {
		return err
	}
	key := r.Header.Get("Idempotency-Key")
	if key != "" && !idempotencyKeys.MatchString(key) {
		return Problemf(http.StatusBadRequest, codeInvalid, "an Idempotency-Key has up to 255 visible ASCII characters")
	}
	check, ok := res.ops.check[a.Action]
	if !ok {
		return Problemf(http.StatusBadRequest, codeInvalid, "action %.40q is not known: use savepoint, pause, resume or drain", a.Action)
	}
	Audit(r.Context(), "action", a.Action)
	if err := check(a); err != nil {
		return err
	}
	op, repeated, err := res.ops.begin(CallerOf(r.Context()).Name, key, a)
	if err != nil {
		return err
	}
	Audit(r.Context(), "operation", op.ID)
	if op, err = res.ops.await(r.Context(), op.ID, patience); err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/operations/"+op.ID)
	if repeated {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	return writeStatus(w, http.StatusAccepted, op)
}

func (res *resources) getOperations(w http.ResponseWriter, r *http.Request) error {
	p, err := pageOf(r, res.ops.list(), func(op operation) string { return op.ID })
	if err != nil {
		return err
	}
	return WriteJSON(w, r, p)
}

// getOperation answers at once, or, with the parameter wait, when the operation has ended or the time is over.
func (res *resources) getOperation(w http.ResponseWriter, r *http.Request) error {
	patience, err := patienceOf(r)
	if err != nil {
		return err
	}
	op, err := res.ops.await(r.Context(), r.PathValue("id"), patience)
	if err != nil {
		return err
	}
	return WriteJSON(w, r, op)
}

// patienceOf reads the parameter wait.
func patienceOf(r *http.Request) (time.Duration, error) {
	q, err := query(r, "wait")
	if err != nil || q.Get("wait") == "" {
		return 0, err
	}
	text := q.Get("wait")
	patience, err := time.ParseDuration(text)
	if err != nil || patience < 0 || patience > maxWait {
		return 0, Problemf(http.StatusBadRequest, codeInvalid, "wait %.20q is not a time of up to %s, such as 10s", text, maxWait)
	}
	return patience, nil
}

// await returns an operation once it has ended, or the time is over.
func (o *operations) await(ctx context.Context, id string, patience time.Duration) (operation, error) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		op, found, changed := o.get(id)
		if !found {
			return op, Problemf(http.StatusNotFound, codeNotFound, "this worker has no such operation: it was asked of another worker, or ended long ago")
		}
		if !op.Ended.IsZero() || patience == 0 {
			return op, nil
		}
		select {
		case <-changed:
		case <-deadline.C:
			return op, nil
		case <-ctx.Done():
			return op, ctx.Err()
		}
	}
}
