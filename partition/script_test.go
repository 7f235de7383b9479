// SPDX-License-Identifier: Apache-2.0

package partition_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/partition"
)

// Each file in testdata/place is one or more scripts. A line "> command" changes a modelled group; the lines below it are
// what the plan makes of it. "# words" says what it is about and begins a new group. Commands:
//
//	tasks <sub-topology> <number> [stateful] [weight=<n>]
//	rules [standbys=<n>] [warm-ups=<n>]
//	join <member...> [zone=<zone>] [capacity=<n>] [runs=<sub-topology>,...]
//	leave <member...>       they say that they are about to end, and end when they run nothing any more
//	kill <member...>        they are gone
//	return <member> as <member>     a killed one comes back on its disk
//	warm [member...]        what they bring near to the present is there; all members, if none is named
//
// Commands that are joined by ";" happen at once. After each line but those of the first two the group makes rounds until no task is on its way between two members. A round
// prints what each member runs, stands by for and warms up for, and the moves.

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func TestPlansFollowTheScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/place/*.txt")
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
			got := runScript(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got), run go test ./partition -rewrite if it should be so:\n%s", file, diff)
			}
		})
	}
}

// script is a group as a script sees it.
type script struct {
	*group
	out  bytes.Buffer
	gone map[string]*node
}

func runScript(t *testing.T, text string) []byte {
	t.Helper()
	s := &script{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		command, is := strings.CutPrefix(line, "> ")
		if !is && !strings.HasPrefix(line, "#") {
			continue
		}
		if !is {
			if s.out.Len() > 0 {
				s.out.WriteByte('\n')
			}
			s.gone = map[string]*node{}
			s.group = &group{reports: true, moved: map[partition.TaskID]int{}, last: map[partition.TaskID]string{}}
		}
		fmt.Fprintln(&s.out, line)
		if !is {
			continue
		}
		changed := false
		for c := range strings.SplitSeq(command, ";") {
			changed = s.run(t, strings.Fields(c)) || changed
		}
		if changed {
			s.rounds()
		}
	}
	return s.out.Bytes()
}

// run carries a command out, and reports whether the group is to be placed anew.
func (s *script) run(t *testing.T, words []string) bool {
	t.Helper()
	names, settings := split(words[1:])
	number := func(key string) int {
		n, err := strconv.Atoi(settings[key])
		if err != nil && settings[key] != "" {
			t.Fatal(err)
		}
		return n
	}
	switch words[0] {
	case "tasks":
		sub, _ := strconv.ParseInt(names[0], 10, 32)
		n, _ := strconv.Atoi(names[1])
		tasks := makeTasks(int32(sub), n, slices.Contains(names, "stateful"))
		for i := range tasks {
			tasks[i].Weight = number("weight")
		}
		s.tasks = append(s.tasks, tasks...)
		return false
	case "rules":
		s.rules = partition.Rules{Standbys: number("standbys"), WarmUps: number("warm-ups")}
		return false
	case "join":
		for _, name := range names {
			m := partition.Member{ID: name, Zone: settings["zone"], Capacity: number("capacity")}
			for sub := range strings.SplitSeq(settings["runs"], ",") {
				if n, err := strconv.ParseInt(sub, 10, 32); err == nil {
					m.SubTopologies = append(m.SubTopologies, int32(n))
				}
			}
			s.members = append(s.members, newNode(m))
		}
	case "leave":
		for _, name := range names {
			s.node(name).Leaving = true
		}
	case "kill":
		for _, name := range names {
			s.gone[name] = s.node(name)
			s.remove(s.gone[name])
		}
	case "return":
		back := s.gone[names[0]]
		back.ID = names[2]
		s.members = append(s.members, back)
	case "warm":
		s.warm(names)
	default:
		t.Fatalf("no such command: %s", words[0])
	}
	return true
}

// split tells names from key=value settings.
func split(words []string) (names []string, settings map[string]string) {
	settings = map[string]string{}
	for _, word := range words {
		if key, value, is := strings.Cut(word, "="); is {
			settings[key] = value
		} else {
			names = append(names, word)
		}
	}
	return names, settings
}

func (s *script) warm(names []string) {
	s.present += 10
	s.copies(func(n *node, h *partition.HeldTask) {
		switch {
		case h.Use == partition.Leftover:
			h.Warm = false
		case h.Warm || len(names) == 0 || slices.Contains(names, n.ID):
			h.Position, h.Warm = s.present, true
		}
	})
}

// rounds has the group make rounds until every task is where the plan has it, and nobody ends.
func (s *script) rounds() {
	for {
		before := len(s.members)
		plan := s.round()
		s.print(plan)
		s.dismiss()
		if before == len(s.members) && maps.Equal(s.owners(), invert(plan.Active)) {
			return
		}
		fmt.Fprintln(&s.out, "  --")
	}
}

func (s *script) print(plan partition.Plan) {
	for _, n := range s.members {
		fmt.Fprintf(&s.out, "  %s", n.ID)
		if n.Zone != "" {
			fmt.Fprintf(&s.out, " in %s", n.Zone)
		}
		if n.Leaving {
			s.out.WriteString(" (leaving)")
		}
		fmt.Fprintf(&s.out, " runs %s", brief(plan.Active[n.ID]))
		if ids := plan.Standby[n.ID]; len(ids) > 0 {
			fmt.Fprintf(&s.out, ", stands by for %s", brief(ids))
		}
		if ids := plan.WarmUp[n.ID]; len(ids) > 0 {
			fmt.Fprintf(&s.out, ", warms up %s", brief(ids))
		}
		s.out.WriteByte('\n')
	}
	for _, m := range plan.Moves {
		from := m.From
		if from == "" {
			from = "nobody"
		}
		fmt.Fprintf(&s.out, "  %s: %s -> %s, %s, %s\n", m.Task, from, m.To, m.Reason, m.State)
	}
}

// brief writes neighbours as a range: 0_0-3 1_2.
func brief(ids []partition.TaskID) string {
	if len(ids) == 0 {
		return "nothing"
	}
	var out []string
	for i := 0; i < len(ids); {
		end := i
		for end+1 < len(ids) && ids[end+1].SubTopology == ids[i].SubTopology && ids[end+1].Partition == ids[end].Partition+1 {
			end++
		}
		word := ids[i].String()
		if end > i {
			word += fmt.Sprintf("-%d", ids[end].Partition)
		}
		out = append(out, word)
		i = end + 1
	}
	return strings.Join(out, " ")
}
