// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// shrink makes a trial that fails smaller as long as it fails in whatever way: without steps, without records, without acts. It
// returns the smallest that it found in time, and its fault.
func (c trial) shrink(limit time.Duration) (trial, string) {
	end := time.Now().Add(limit)
	small, fault := c, c.fault()
	for again := true; again; {
		again = false
		for _, less := range small.smaller() {
			if time.Now().After(end) {
				return small, fault
			}
			if f := less.fault(); f != "" {
				small, fault, again = less, f, true
				break
			}
		}
	}
	return small, fault
}

// smaller returns trials that lack a part of this one.
func (c trial) smaller() (all []trial) {
	uses := c.plan.uses()
	for i := len(c.plan.steps) - 1; i >= 0; i-- {
		s := c.plan.steps[i]
		var p *plan
		switch {
		case uses[i] == 0 && len(c.plan.steps) > 1:
			p = c.plan.without(i)
		case len(s.in) > 0 && verbs[s.verb].gives == kind(verbs[s.verb].takes[0]):
			p = c.plan.around(i)
		default:
			continue
		}
		if _, err := p.shapes(); err == nil {
			all = append(all, c.on(p, i))
		}
	}
	for _, part := range []int{2, 4, 8, 16, 32} {
		for at := range part {
			if from, to := len(c.events)*at/part, len(c.events)*(at+1)/part; from < to {
				less := c
				less.events = slices.Delete(slices.Clone(c.events), from, to)
				all = append(all, less)
			}
		}
	}
	all = append(all, c.calmer()...)
	for _, what := range []act{restore, checkpoint, loseDisk, crash, commitAndCrash, runAll, commit, process} {
		if slices.Contains(c.settings.script, what) {
			less := c
			less.settings.script = slices.DeleteFunc(slices.Clone(c.settings.script), func(a act) bool { return a == what })
			all = append(all, less)
		}
	}
	return append(all, c.plainer()...)
}

// calmer are trials in which nothing happens in a part of the script.
func (c trial) calmer() (all []trial) {
	for _, part := range []int{2, 4, 8, 16, 32, 64} {
		for at := range part {
			from, to := len(c.settings.script)*at/part, len(c.settings.script)*(at+1)/part
			calm := slices.DeleteFunc(slices.Clone(c.settings.script[from:to]), func(a act) bool { return a != send })
			if len(calm) < to-from {
				less := c
				less.settings.script = slices.Concat(c.settings.script[:from], calm, c.settings.script[to:])
				all = append(all, less)
			}
		}
	}
	return all
}

// on is the trial of a plan that lacks a step: without the records that nothing reads any more, and with the topics of
// sources behind it under their new numbers.
func (c trial) on(p *plan, gone int) trial {
	names := map[string]string{globalTopic: globalTopic}
	for i := range c.plan.steps {
		switch {
		case i < gone:
			names[sourceTopic(i)] = sourceTopic(i)
		case i > gone:
			names[sourceTopic(i)] = sourceTopic(i - 1)
		}
	}
	if !p.has("joinGlobal") {
		delete(names, globalTopic)
	}
	c.plan = p
	var events []event
	for _, e := range c.events {
		if to := names[e.topic]; to != "" {
			e.topic = to
			events = append(events, e)
		}
	}
	c.events = events
	return c
}

// plainer are trials with plainer settings.
func (c trial) plainer() (all []trial) {
	if c.settings.cache != plain.cache {
		less := c
		less.settings.cache = plain.cache
		all = append(all, less)
	}
	if c.settings.order != plain.order {
		less := c
		less.settings.order = plain.order
		all = append(all, less)
	}
	if c.settings.partitions > 1 {
		less := c
		less.settings.partitions--
		all = append(all, less)
	}
	return all
}

// describe shows a trial and its fault.
func (c trial) describe(fault string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%vsettings: %v\n%d records\n", c.plan, c.settings, len(c.events))
	const most = 30
	if len(c.events) <= most {
		for _, e := range c.events {
			fmt.Fprintf(&b, "  %s %s=%d null=%v at %d\n", e.topic, e.key, e.value, e.null, e.at.UnixMilli())
		}
		fmt.Fprintf(&b, "script: %v\n", c.settings.script)
	}
	b.WriteString(fault)
	return b.String()
}
