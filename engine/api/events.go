// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/rand"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	keptEvents    = 1024
	watchInterval = 250 * time.Millisecond // how often the worker is looked at for changes
	heartbeat     = 15 * time.Second
	eventTimeout  = 10 * time.Second // of a write to a client
)

// event is a change of a resource.
type event struct {
	number int64
	kind   string
	data   []byte
}

// facet is what is watched of a resource: another value is a change.
type facet struct {
	kind  string
	key   string
	value any // compared by reflect.DeepEqual
}

// hub finds changes, numbers them and keeps the newest. Those who follow read at their own pace from what is kept; who falls
// behind that is cut off.
type hub struct {
	boot    string // tells the numbers of this process from those of another
	near    func() []facet
	distant func(context.Context) []facet // cost something: they are looked at while somebody follows

	mu struct {
		sync.Mutex
		events    []event // oldest first
		last      int64
		more      chan struct{} // closed at the next event
		followers int
	}
}

func newHub(near func() []facet, distant func(context.Context) []facet) *hub {
	h := &hub{boot: rand.Text()[:8], near: near, distant: distant}
	h.mu.more = make(chan struct{})
	return h
}

// run looks for changes until ctx ends.
func (h *hub) run(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	near, distant := map[string]facet{}, map[string]facet{}
	h.compare(near, h.near(), false)
	var asked time.Time // when the distant ones were looked at
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		h.compare(near, h.near(), true)
		if h.followed() && time.Since(asked) >= fresh {
			h.compare(distant, h.distant(ctx), !asked.IsZero())
			asked = time.Now()
		}
	}
}

// compare publishes what has changed, and keeps what is now.
func (h *hub) compare(was map[string]facet, now []facet, publish bool) {
	if now == nil {
		return // it could not be found out
	}
	seen := map[string]bool{}
	for _, f := range now {
		name := f.kind + "\x00" + f.key
		seen[name] = true
		if old, ok := was[name]; publish && (!ok || !reflect.DeepEqual(old.value, f.value)) {
			h.publish(f.kind, f.value)
		}
		was[name] = f
	}
	for name, f := range was {
		if !seen[name] {
			delete(was, name)
			if publish {
				h.publish(f.kind+"-gone", map[string]string{"id": f.key})
			}
		}
	}
}

// publish gives a change the next number.
func (h *hub) publish(kind string, v any) {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return // resources can be written: their tests do
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.last++
	if len(h.mu.events) == keptEvents {
		h.mu.events = slices.Delete(h.mu.events, 0, 1)
	}
	h.mu.events = append(h.mu.events, event{h.mu.last, kind, data})
	close(h.mu.more)
	h.mu.more = make(chan struct{})
}

func (h *hub) followed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.followers > 0
}

// errBehind says that what comes next for a follower is not kept any more.
var errBehind = errors.New("the client has fallen behind what is kept of the events")

// after returns the events above a number, and what is closed when there are more.
func (h *hub) after(number int64) ([]event, <-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.events) > 0 && number+1 < h.mu.events[0].number {
		return nil, nil, errBehind
	}
	i := len(h.mu.events) - int(h.mu.last-number)
	return slices.Clone(h.mu.events[i:]), h.mu.more, nil
}

// position finds where a follower goes on that has seen an event last. ok is false if that cannot be.
func (h *hub) position(lastID string) (number int64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	boot, text, _ := strings.Cut(lastID, "-")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || boot != h.boot || n < 0 || n > h.mu.last || n < h.mu.last-int64(len(h.mu.events)) {
		return h.mu.last, false
	}
	return n, true
}

func (h *hub) follow(delta int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.followers += delta
}

func (h *hub) id(number int64) string { return fmt.Sprintf("%s-%d", h.boot, number) }

// streamEvents makes the handler that sends changes as server-sent events.
func (s *Server) streamEvents(h *hub) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, err := query(r); err != nil {
			return err
		}
		h.follow(+1)
		defer h.follow(-1)
		head := w.Header()
		head.Set("Content-Type", "text/event-stream")
		head.Set("X-Accel-Buffering", "no")
		kind := "ready"
		lastID := r.Header.Get("Last-Event-ID")
		at, ok := h.position(lastID)
		if lastID != "" && !ok {
			kind = "reset"
		}
		stream := &eventStream{w: w, out: http.NewResponseController(w)}
		stream.add(h.id(at), kind, []byte("{}"))
		beat := time.NewTicker(heartbeat)
		defer beat.Stop()
		for {
			events, more, err := h.after(at)
			if err != nil {
				return err // the status is sent already: the connection ends
			}
			for _, e := range events {
				at = e.number
				stream.add(h.id(at), e.kind, e.data)
			}
			if err := stream.flush(); err != nil {
				return err
			}
			select {
			case <-more:
			case <-beat.C:
				if caller, err := s.authenticate(r); err != nil || !caller.Role.may(&Route{Role: Viewer}) {
					return err // the token was withdrawn meanwhile
				}
				stream.text.WriteString(": still here\n\n")
			case <-r.Context().Done():
				return nil
			}
		}
	}
}

// eventStream writes server-sent events.
type eventStream struct {
	w    http.ResponseWriter
	out  *http.ResponseController
	text strings.Builder
}

func (s *eventStream) add(id, kind string, data []byte) {
	fmt.Fprintf(&s.text, "id: %s\nevent: %s\ndata: %s\n\n", id, kind, data)
}

func (s *eventStream) flush() error {
	text := s.text.String()
	s.text.Reset()
	if err := s.out.SetWriteDeadline(time.Now().Add(eventTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.out.Flush()
}

// workerFacet is a status without what always changes.
type workerFacet struct {
	App         string `json:"app"`
	Incarnation int    `json:"incarnation"`
	Phase       string `json:"phase"`
	Joined      bool   `json:"joined"`
	Generation  int32  `json:"generation"`
	Member      string `json:"member,omitempty"`
	Leaving     bool   `json:"leaving,omitempty"`
}

// taskFacet is a task without what always changes.
type taskFacet struct {
	Task           string    `json:"task"`
	State          string    `json:"state"`
	Round          int64     `json:"round"`
	CheckpointedAt time.Time `json:"checkpointedAt,omitzero"`
}

// failureFacet is a failure without its samples.
type failureFacet struct {
	Source  string `json:"source"`
	Step    string `json:"step"`
	Phase   string `json:"phase,omitempty"`
	Outcome string `json:"outcome"`
	Count   int64  `json:"count"`
}

// busy are the phases between which a worker goes back and forth as it works.
var busy = []string{"idle", "processing", "preparing", "flushing", "committing offsets", "ending"}

// facets are those that cost nothing to look at.
func (res *resources) facets() []facet {
	st := res.worker.Status()
	phase := st.Phase
	if slices.Contains(busy, phase) {
		phase = "working"
	}
	all := []facet{{"worker", "self", workerFacet{st.App, st.Incarnation, phase, st.Joined, st.Generation, st.Member, st.Leaving}}}
	for _, t := range st.Tasks {
		all = append(all, facet{"task", t.Task, taskFacet{t.Task, t.State, t.Round, t.CheckpointedAt}})
	}
	for _, m := range st.Moves {
		m.Lag = nil // it always changes
		all = append(all, facet{"move", m.Task, m})
	}
	for _, m := range res.worker.Members() {
		all = append(all, facet{"member", m.ID, m})
	}
	for _, f := range res.worker.Failures() {
		all = append(all, facet{"error", fmt.Sprintf("%q %q %q %q", f.Source, f.Step, f.Phase, f.Outcome), failureFacet{f.Source, f.Step, f.Phase, f.Outcome, f.Count}})
	}
	return all
}

// followedRounds is how many checkpoints, the newest, are watched for changes.
const followedRounds = 20

// distantFacets are those of the object store; nil if they cannot be found out at present.
func (res *resources) distantFacets(ctx context.Context) []facet {
	life, err := res.life()
	if err != nil {
		return nil
	}
	all := []facet{}
	if life.Repository != nil {
		h, err := res.currentHalt(ctx, life)
		if err != nil {
			return nil
		}
		all = append(all, facet{"application", res.worker.Status().App, struct {
			Halt *halt `json:"halt"`
		}{h}})
		rounds, err := res.listRounds(ctx, life)
		if err != nil {
			return nil
		}
		for _, c := range rounds[:min(len(rounds), followedRounds)] {
			all = append(all, facet{"checkpoint", strconv.FormatInt(c.Number, 10), newRoundView(c, newestOf(rounds))})
		}
	}
	return all
}
