// SPDX-License-Identifier: Apache-2.0

package api

import "sync"

// StandIn is a worker that says what a test has told it to.
type StandIn struct {
	mu       sync.Mutex
	status   Status
	failures []Failure
	life     *Life
	Drained  chan struct{}
}

// NewStandIn makes a worker that knows its application, and has one task.
func NewStandIn() *StandIn {
	return &StandIn{
		status: Status{App: "stood-in", Tasks: []Task{{Task: "0_0", State: "restoring"}}}, life: &Life{Incarnation: 1, Tasks: []TaskPlan{{}}},
		Drained: make(chan struct{}),
	}
}

// Set changes the state of the task.
func (s *StandIn) Set(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Tasks = []Task{{Task: "0_0", State: state}}
}

// Status implements Worker.
func (s *StandIn) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Life implements Worker.
func (s *StandIn) Life() (Life, bool) { return *s.life, true }

// Members implements Worker.
func (s *StandIn) Members() []Member { return nil }

// Failures implements Worker.
func (s *StandIn) Failures() []Failure { return s.failures }

// Drain implements Worker.
func (s *StandIn) Drain() { close(s.Drained) }
