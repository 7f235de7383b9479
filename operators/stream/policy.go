// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
)

// ErrorPolicy says what becomes of a record that a step fails on. It is about that step and that record only: what other
// steps made of the same input stays, the failing step's own changes to state are undone, and nothing that it emitted for
// the record goes on. Where a step works because time has passed, the policy is about what was due of one key. All of it is
// part of the epoch's one transaction.
type ErrorPolicy struct {
	retries    int
	pause      time.Duration // before the first of them; doubled for each further one
	skip       bool
	deadLetter string // topic
}

// The policies without a parameter.
var (
	// Fail ends the epoch with the error, and the worker in the end: the record is processed again until it succeeds. It
	// is what happens where no policy says otherwise.
	Fail = ErrorPolicy{}
	// Skip drops the record; it is counted by step and phase.
	Skip = ErrorPolicy{skip: true}
)

// DeadLetter is the policy that drops the record and sends the task's input record that it came from to a topic: the
// original key, value and headers, and the headers streamd-error, streamd-step, streamd-phase, streamd-topic,
// streamd-partition and streamd-offset. Where there is no such record, as when time has passed and for rows that are
// emitted per commit, it is Fail.
func DeadLetter(topic string) ErrorPolicy { return ErrorPolicy{deadLetter: topic} }

// maxRetrying and maxRetries are how long and how often one record may be retried: it holds back the whole task, and the
// epoch.
const (
	maxRetrying = 10 * time.Second
	maxRetries  = 20
)

// Retry is the policy that gives the step the record again, n times at the most, and fails then. The step waits
// pause before the first of these attempts and twice as long before each further one; in all at most 10 seconds, and at
// most 20 attempts. The task waits with it, so this is for what passes soon, as a refused connection. Records that do not decode are not retried.
func Retry(n int, pause time.Duration) ErrorPolicy { return ErrorPolicy{retries: n, pause: pause} }

// Then replaces what happens after the last attempt of a Retry.
func (p ErrorPolicy) Then(last ErrorPolicy) ErrorPolicy {
	last.retries, last.pause = p.retries, p.pause
	return last
}

// String is how descriptions of the pipeline have it.
func (p ErrorPolicy) String() string {
	var b strings.Builder
	if p.retries > 0 {
		fmt.Fprintf(&b, "retry %d times from %v, then ", p.retries, p.pause)
	}
	switch {
	case p.deadLetter != "":
		b.WriteString("dead-letter:" + p.deadLetter)
	case p.skip:
		b.WriteString("skip")
	default:
		b.WriteString("fail")
	}
	return b.String()
}

// check returns what is wrong with the policy, empty if nothing is.
func (p ErrorPolicy) check() (found, todo string) {
	if p.retries < 0 || p.pause < 0 {
		return fmt.Sprintf("Retry(%d, %v) is negative", p.retries, p.pause), "give a number and a pause of zero or more"
	}
	total := time.Duration(0)
	for n := 0; n < p.retries && total <= maxRetrying; n++ {
		total = 2*total + p.pause
	}
	if total > maxRetrying || p.retries > maxRetries {
		return fmt.Sprintf("Retry(%d, %v) may take longer than %v or %d attempts", p.retries, p.pause, maxRetrying, maxRetries),
			"retry less: the whole task waits with the record"
	}
	return "", ""
}

// Condition narrows an OnError. Several of them must all hold.
type Condition func(*rule)

// InPhase is the condition that the step was in one of these phases.
func InPhase(phases ...operators.Phase) Condition {
	return func(r *rule) { r.phases = phases }
}

// IfError is the condition that match holds for the error: the one that user code or a codec returned, or an
// *operators.PanicError. Use errors.Is and errors.AsType in it.
func IfError(match func(error) bool) Condition {
	return func(r *rule) { r.match = match }
}

// rule is a policy with its conditions.
type rule struct {
	policy ErrorPolicy
	phases []operators.Phase // nil: all
	match  func(error) bool  // nil: any
}

func (r *rule) in(phase operators.Phase) bool {
	return r.phases == nil || slices.Contains(r.phases, phase)
}

// rules are policies, of which the first one that applies counts.
type rules []rule

// with puts a policy before the others.
func (rs rules) with(policy ErrorPolicy, when []Condition) rules {
	r := rule{policy: policy}
	for _, set := range when {
		set(&r)
	}
	return append(rules{r}, rs...)
}

// of returns the policy for an error.
func (rs rules) of(phase operators.Phase, err error) ErrorPolicy {
	for i := range rs {
		if rs[i].in(phase) && (rs[i].match == nil || rs[i].match(err)) {
			return rs[i].policy
		}
	}
	return Fail
}

// within returns the rules that may apply in one of the phases; none if all of them would fail.
func (rs rules) within(phases ...operators.Phase) rules {
	var kept rules
	for i := range rs {
		if !slices.ContainsFunc(phases, rs[i].in) {
			continue
		}
		kept = append(kept, rs[i])
		if rs[i].phases == nil && rs[i].match == nil {
			break // The rest never comes to bear.
		}
	}
	for len(kept) > 0 && kept[len(kept)-1].policy == Fail {
		kept = kept[:len(kept)-1]
	}
	return kept
}

// String lists the rules, "fail" for none.
func (rs rules) String() string {
	if len(rs) == 0 {
		return Fail.String()
	}
	parts := make([]string, len(rs))
	for i, r := range rs {
		parts[i] = r.policy.String()
		if r.phases != nil {
			parts[i] += fmt.Sprintf(" in %v", r.phases)
		}
		if r.match != nil {
			parts[i] += " for some errors"
		}
	}
	return strings.Join(parts, "; ")
}

// OnError sets the policy of all steps of the pipeline that are declared later, sources included; the latest one whose
// conditions hold counts. The OnError of a stream or a table and a source's OnDecodeError come before it.
func (p *Pipeline) OnError(policy ErrorPolicy, when ...Condition) {
	p.rules = p.rules.with(policy, when)
	if found, todo := policy.check(); found != "" {
		p.errs = append(p.errs, fmt.Errorf("pipeline %q: %s; %s", p.graph.App, found, todo))
	}
}

// OnError sets the policy of the steps that hang on this stream, and on the streams and tables that they make, up to the
// next OnError. The latest policy whose conditions hold counts, then those of the pipeline. A step that brings several
// streams or tables together follows the policy of the one that its verb is called on.
func (s Stream[K, V]) OnError(policy ErrorPolicy, when ...Condition) Stream[K, V] {
	s.rules = s.p.ruled(s.rules, s.n.id, policy, when)
	return s
}

// OnError sets the policy of the steps that hang on this table, as Stream.OnError does. A row that such a step fails on,
// and the policy drops, is not there for the steps below it until it changes to one that the step takes.
func (t Table[K, V]) OnError(policy ErrorPolicy, when ...Condition) Table[K, V] {
	t.rules = t.p.ruled(t.rules, t.n.id, policy, when)
	return t
}

// OnError sets the policy of the steps that hang on these results, as Stream.OnError does.
func (s WindowedStream[K, V]) OnError(policy ErrorPolicy, when ...Condition) WindowedStream[K, V] {
	s.rules = s.p.ruled(s.rules, s.n.id, policy, when)
	return s
}

// ruled puts a policy before the rules of what hangs on a node.
func (p *Pipeline) ruled(own rules, node int, policy ErrorPolicy, when []Condition) rules {
	if found, todo := policy.check(); found != "" {
		p.fail(p.graph.Nodes[node].Label, found, todo)
	}
	return p.policies(own).with(policy, when)
}

// policies are the rules for steps that hang on something with these of its own: nil for those of the pipeline.
func (p *Pipeline) policies(own rules) rules {
	if own != nil {
		return own
	}
	return p.rules
}

// governs notes which rules a node follows.
func (rs rules) governs(n *topology.Node) rules {
	if len(rs) == 0 {
		return nil
	}
	n.OnError = rs.String()
	rs.deadLetters(n)
	return rs
}

// deadLetters notes the topics that a node may send records to.
func (rs rules) deadLetters(n *topology.Node) {
	for i := range rs {
		if topic := rs[i].policy.deadLetter; topic != "" && !slices.Contains(n.DeadLetters, topic) {
			n.DeadLetters = append(n.DeadLetters, topic)
		}
	}
}

// stepRules are those that a step follows which processes and writes records.
func (p *Pipeline) stepRules(own rules, n *topology.Node) rules {
	return p.policies(own).within(operators.PhaseProcess, operators.PhaseSerialize, operators.PhaseProduce).governs(n)
}

// timedRules are those that a step follows which also calls user code when time has passed.
func (p *Pipeline) timedRules(own rules, n *topology.Node) rules {
	return p.policies(own).within(operators.PhaseProcess, operators.PhaseSerialize, operators.PhaseProduce, operators.PhaseTimer).governs(n)
}
