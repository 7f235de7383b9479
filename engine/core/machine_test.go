// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/partition"
)

// Each file in testdata is one or more scripts. A line "> event" is given to a machine; the lines below it are the
// effects that it orders. "# words" names the promise and begins a new machine. Events:
//
//	machine at-least-once                        a machine of another kind, right after the name
//	running <task...>                            short for assigned m1 1, restored and anchored; effects not shown
//	assigned <member> <generation> [task...]     the live transactional id is always "live"
//	revoked <generation> <ack> <task...>
//	lost <task...>
//	restored <task> <attempt> [error]
//	touched <task...> | overdue <task...> | returned <task>
//	due | prepared [error] | flushed <outcome> [error] | offsets <outcome> | no-generation | ended <outcome> | producer-ready
//	failed | stop | checkpointed
//
// After the effects of each event comes the phase, and "may process" where records may be processed.

var update = flag.Bool("update", false, "rewrite the expected effects of the scripts")

func TestMachineFollowsItsScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("find scripts: %v, %d files", err, len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(string(want))
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the machine does not follow %s (-want +got):\n%s", file, diff)
			}
		})
	}
}

func runScript(text string) []byte {
	var out bytes.Buffer
	m := core.New(core.Options{})
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "#"):
			if out.Len() > 0 {
				out.WriteByte('\n')
			}
			m = core.New(core.Options{})
		case line == "> machine at-least-once":
			m = core.New(core.Options{AtLeastOnce: true})
			fmt.Fprintln(&out, line)
			continue
		case !strings.HasPrefix(line, "> "):
			continue
		}
		fmt.Fprintln(&out, line)
		if command, is := strings.CutPrefix(line, "> "); is {
			stepScript(&out, m, strings.Fields(command))
		}
	}
	return out.Bytes()
}

// stepScript writes what an event leads to, a panic included: scripts also hold the limits of the contract.
func stepScript(out *bytes.Buffer, m *core.Machine, words []string) {
	if words[0] == "running" {
		run(m, tasksOf(words[1:]))
		return
	}
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(out, "  panic: %v\n", r)
		}
	}()
	for _, e := range m.Step(parseEvent(words)) {
		fmt.Fprintf(out, "  %s\n", printEffect(e))
	}
	fmt.Fprintf(out, "  = %s", m.Phase())
	if m.MayProcess() {
		out.WriteString(", may process")
	}
	out.WriteByte('\n')
}

// run brings tasks to life, with one anchor for all.
func run(m *core.Machine, ids []partition.TaskID) {
	m.Step(core.Assigned{MemberID: "m1", Generation: 1, Added: ids})
	for i, id := range ids {
		m.Step(core.Restored{Task: id, Attempt: i + 1})
	}
	for m.Phase() != core.Idle {
		switch m.Phase() {
		case core.Preparing:
			m.Step(core.Prepared{})
		case core.Flushing:
			m.Step(core.Flushed{})
		case core.CommittingOffsets:
			m.Step(core.OffsetsCommitted{})
		case core.Ending:
			m.Step(core.Ended{})
		}
	}
}

func parseEvent(words []string) core.Event {
	verb, args := words[0], words[1:]
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	failure := func(i int) error {
		if arg(i) == "" {
			return nil
		}
		return errors.New(arg(i))
	}
	switch verb {
	case "assigned":
		return core.Assigned{MemberID: arg(0), Generation: int32(number(arg(1))), Added: tasksOf(args[2:]), Live: []string{"live"}}
	case "revoked":
		return core.Revoked{Generation: int32(number(arg(0))), Ack: uint64(number(arg(1))), Tasks: tasksOf(args[2:])}
	case "lost":
		return core.Lost{Tasks: tasksOf(args)}
	case "restored":
		return core.Restored{Task: tasksOf(args[:1])[0], Attempt: number(arg(1)), Err: failure(2)}
	case "touched":
		return core.Touched{Tasks: tasksOf(args)}
	case "overdue":
		return core.Overdue{Tasks: tasksOf(args)}
	case "returned":
		return core.Returned{Task: tasksOf(args)[0]}
	case "due":
		return core.CommitDue{}
	case "prepared":
		return core.Prepared{Err: failure(0)}
	case "flushed":
		return core.Flushed{Outcome: outcomeOf(arg(0)), Err: failure(1)}
	case "offsets":
		return core.OffsetsCommitted{Outcome: outcomeOf(arg(0))}
	case "no-generation":
		return core.NoGeneration{}
	case "ended":
		return core.Ended{Outcome: outcomeOf(arg(0))}
	case "producer-ready":
		return core.ProducerReady{}
	case "failed":
		return core.TaskFailed{Err: errors.New("boom")}
	case "stop":
		return core.Stop{}
	case "checkpointed":
		return core.Checkpointed{}
	}
	panic("the script's event " + verb + " is not known")
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func tasksOf(words []string) []partition.TaskID {
	var ids []partition.TaskID
	for _, w := range words {
		id, err := partition.ParseTaskID(w)
		if err != nil {
			panic(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func outcomeOf(s string) core.Outcome {
	for _, o := range []core.Outcome{core.Confirmed, core.Refused, core.Fenced, core.Unknown, core.Outdated} {
		if o.String() == s {
			return o
		}
	}
	panic("the script's outcome " + s + " is not known")
}

func printEffect(e core.Effect) string {
	name := strings.TrimPrefix(fmt.Sprintf("%T", e), "core.")
	return strings.TrimSuffix(name+" "+strings.Trim(fmt.Sprintf("%v", e), "{}"), " ")
}

func TestWorkerFencedAgainAndAgainEndsWithANamedError(t *testing.T) {
	t.Parallel()
	m := core.New(core.Options{})
	id := partition.TaskID{}
	for attempt := 1; attempt <= 20; attempt++ {
		m.Step(core.Assigned{MemberID: "m", Generation: int32(attempt), Added: []partition.TaskID{id}})
		m.Step(core.Restored{Task: id, Attempt: attempt})
		m.Step(core.Prepared{})
		effects := m.Step(core.Flushed{Outcome: core.Fenced})
		last := effects[len(effects)-1]
		if leave, is := last.(core.Leave); is {
			if !errors.Is(leave.Err, core.ErrFencedRepeatedly) || attempt != 11 {
				t.Errorf("left with %v after %d fences", leave.Err, attempt)
			}
			return
		}
		if last != (core.Rejoin{}) {
			t.Fatalf("fenced: %v", effects)
		}
	}
	t.Error("the worker rejoins for ever")
}

func TestCountsTellHeldTasksFromRunningOnes(t *testing.T) {
	t.Parallel()
	m := core.New(core.Options{})
	m.Step(core.Assigned{MemberID: "m", Generation: 1, Added: tasksOf([]string{"0_0", "0_1"})})
	for _, ev := range []core.Event{core.Restored{Task: partition.TaskID{}, Attempt: 1}, core.CommitDue{}, core.Prepared{}, core.Flushed{}, core.OffsetsCommitted{}, core.Ended{}} {
		m.Step(ev)
	}
	if held, ready := m.Counts(); held != 2 || ready != 1 {
		t.Errorf("held %d, ready %d; want 2 and 1", held, ready)
	}
	if !m.Running(partition.TaskID{}) || m.Running(partition.TaskID{Partition: 1}) {
		t.Error("0_0 should run, 0_1 should not")
	}
}
