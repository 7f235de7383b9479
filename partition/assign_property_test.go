// SPDX-License-Identifier: Apache-2.0

package partition_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/partition"
)

// Strategy: small random groups, in which members own and hold random tasks (existing or not, owned twice or not),
// as after any history. Invariants: those of the package documentation; stickiness is compared with the best of all
// balanced assignments, found by trying every rounding of the shares.

func drawTasks(t *rapid.T) []partition.Task {
	var tasks []partition.Task
	for sub := range rapid.IntRange(0, 3).Draw(t, "sub-topologies") {
		n := rapid.IntRange(1, 8).Draw(t, "partitions")
		tasks = append(tasks, makeTasks(int32(sub), n, rapid.Bool().Draw(t, "stateful"))...)
	}
	return tasks
}

// drawWeights gives the sub-topologies weights, most of them different.
func drawWeights(t *rapid.T, tasks []partition.Task) []partition.Task {
	weights := rapid.SliceOfN(rapid.IntRange(-1, 5), 4, 4).Draw(t, "weights")
	for i := range tasks {
		tasks[i].Weight = weights[tasks[i].ID.SubTopology]
	}
	return tasks
}

type drawOptions struct {
	weighted, restricted bool
	noState              bool // nobody holds any
	maxMembers           int
}

func drawMembers(t *rapid.T, o drawOptions) []partition.Member {
	anyTask := rapid.Custom(func(t *rapid.T) partition.TaskID {
		return id(rapid.Int32Range(0, 3).Draw(t, "sub"), rapid.Int32Range(0, 8).Draw(t, "partition"))
	})
	maxHeld := 6
	if o.noState {
		maxHeld = 0
	}
	members := make([]partition.Member, rapid.IntRange(1, o.maxMembers).Draw(t, "members"))
	for m := range members {
		members[m] = partition.Member{ID: fmt.Sprintf("m%d", m)}
		members[m].Owned = rapid.SliceOfN(anyTask, 0, 12).Draw(t, "owned")
		for _, task := range rapid.SliceOfN(anyTask, 0, maxHeld).Draw(t, "held") {
			held := partition.HeldTask{Task: task, Position: rapid.Int64Range(0, 3).Draw(t, "position")}
			members[m].Held = append(members[m].Held, held)
		}
		if o.weighted {
			members[m].Capacity = rapid.IntRange(0, 9).Draw(t, "capacity")
		}
		if o.restricted {
			members[m].SubTopologies = rapid.SliceOfDistinct(rapid.Int32Range(0, 2), rapid.ID).Draw(t, "runs")
		}
	}
	return members
}

func canRun(m partition.Member, task partition.Task) bool {
	return m.SubTopologies == nil || slices.Contains(m.SubTopologies, task.ID.SubTopology)
}

// owners says who runs each existing task, as Assign is documented to understand it.
func owners(tasks []partition.Task, members []partition.Member) map[partition.TaskID]string {
	owner := map[partition.TaskID]string{}
	for _, m := range slices.SortedFunc(slices.Values(members), func(a, b partition.Member) int {
		return strings.Compare(a.ID, b.ID)
	}) {
		for _, task := range tasks {
			if _, taken := owner[task.ID]; !taken && slices.Contains(m.Owned, task.ID) && canRun(m, task) {
				owner[task.ID] = m.ID
			}
		}
	}
	return owner
}

func invert(assigned map[string][]partition.TaskID) map[partition.TaskID]string {
	owner := map[partition.TaskID]string{}
	for member, ids := range assigned {
		for _, id := range ids {
			owner[id] = member
		}
	}
	return owner
}

func TestEveryTaskIsGivenOnceToAMemberThatCanRunIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawWeights(t, drawTasks(t))
		members := drawMembers(t, drawOptions{weighted: true, restricted: true, maxMembers: 6})
		got := partition.Assign(tasks, members)
		if len(got) != len(members) {
			t.Fatalf("%d members, %d entries", len(members), len(got))
		}
		times := map[partition.TaskID]int{}
		for _, m := range members {
			if !slices.IsSortedFunc(got[m.ID], partition.TaskID.Compare) {
				t.Fatalf("tasks of %s are not sorted: %v", m.ID, got[m.ID])
			}
			for _, id := range got[m.ID] {
				times[id]++
				if !canRun(m, partition.Task{ID: id}) {
					t.Fatalf("%s cannot run %s", m.ID, id)
				}
			}
		}
		for _, task := range tasks {
			want := 0
			if slices.ContainsFunc(members, func(m partition.Member) bool { return canRun(m, task) }) {
				want = 1
			}
			if times[task.ID] != want {
				t.Fatalf("%s is given %d times, want %d", task.ID, times[task.ID], want)
			}
			delete(times, task.ID)
		}
		if len(times) > 0 {
			t.Fatalf("tasks that do not exist: %v", times)
		}
	})
}

func TestSharesAreKeptInTotalAndOfStatefulTasks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		members := drawMembers(t, drawOptions{weighted: true, maxMembers: 8})
		got := partition.Assign(tasks, members)
		checkBalance(t, tasks, members, got)
	})
}

// With equal weights this says less than the test before.
func TestLoadsAreLessThanTheLargestWeightOffTheirShares(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawWeights(t, drawTasks(t))
		members := drawMembers(t, drawOptions{weighted: rapid.Bool().Draw(t, "weighted"), maxMembers: 8})
		got := partition.Assign(tasks, members)
		checkLoad(t, tasks, members, got)
		for w := range 6 {
			heavy := slices.DeleteFunc(slices.Clone(tasks), func(task partition.Task) bool { return max(task.Weight, 1) < w })
			light := slices.DeleteFunc(slices.Clone(tasks), func(task partition.Task) bool { return max(task.Weight, 1) >= w })
			checkCounts(t, heavy, members, without(got, light))
		}
	})
}

// without leaves out the tasks from an assignment.
func without(assigned map[string][]partition.TaskID, tasks []partition.Task) map[string][]partition.TaskID {
	out := map[string][]partition.TaskID{}
	for id, ids := range assigned {
		out[id] = slices.DeleteFunc(slices.Clone(ids), func(id partition.TaskID) bool {
			return slices.ContainsFunc(tasks, func(task partition.Task) bool { return task.ID == id })
		})
	}
	return out
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkBalance fails unless each member has its share of all tasks and of the stateful ones, rounded down or up.
func checkBalance(t fataler, tasks []partition.Task, members []partition.Member, got map[string][]partition.TaskID) {
	t.Helper()
	checkCounts(t, tasks, members, got)
	stateless := slices.DeleteFunc(slices.Clone(tasks), func(task partition.Task) bool { return task.Stateful })
	stateful := slices.DeleteFunc(slices.Clone(tasks), func(task partition.Task) bool { return !task.Stateful })
	checkCounts(t, stateful, members, without(got, stateless))
}

// checkCounts fails unless each member has its share by number, rounded down or up.
func checkCounts(t fataler, tasks []partition.Task, members []partition.Member, got map[string][]partition.TaskID) {
	t.Helper()
	capacities := 0
	for _, m := range members {
		capacities += max(1, m.Capacity)
	}
	for _, m := range members {
		share := len(tasks) * max(1, m.Capacity)
		if n, low, high := len(got[m.ID]), share/capacities, (share+capacities-1)/capacities; n < low || n > high {
			t.Fatalf("%s has %d of %d tasks, want %d to %d: %v", m.ID, n, len(tasks), low, high, got)
		}
	}
}

func TestFewestPossibleTasksMove(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		// Where the state is counts more than a stateless task that stays, and unequal weights may cost one too.
		alike := rapid.Bool().Draw(t, "alike")
		members := drawMembers(t, drawOptions{weighted: !alike, noState: alike, maxMembers: 5})
		owner, got := owners(tasks, members), invert(partition.Assign(tasks, members))
		var moved [2]int
		for _, task := range tasks {
			if owner[task.ID] == "" || owner[task.ID] == got[task.ID] {
				continue
			}
			if task.Stateful {
				moved[0]++
			} else {
				moved[1]++
			}
		}
		want := fewestMoves(tasks, members, owner)
		if moved[0] != want[0] || alike && moved[1] != want[1] {
			t.Fatalf("moved %v (stateful, stateless), could have moved %v", moved, want)
		}
	})
}

// fewestMoves tries every rounding of the shares.
func fewestMoves(tasks []partition.Task, members []partition.Member, owner map[partition.TaskID]string) [2]int {
	own := make([][2]int, len(members))
	var all [2]int
	weights := 0
	for i, m := range members {
		weights += max(1, m.Capacity)
		for _, task := range tasks {
			if owner[task.ID] == m.ID {
				own[i][kind(task)]++
			}
		}
	}
	for _, task := range tasks {
		all[kind(task)]++
	}
	best := [2]int{len(tasks) + 1}
	var try func(i int, left, moved [2]int)
	try = func(i int, left, moved [2]int) {
		if i == len(members) {
			if left == [2]int{} && slices.Compare(moved[:], best[:]) < 0 {
				best = moved
			}
			return
		}
		w := max(1, members[i].Capacity)
		for stateful := all[0] * w / weights; stateful <= (all[0]*w+weights-1)/weights; stateful++ {
			total := all[0] + all[1]
			for sum := total * w / weights; sum <= (total*w+weights-1)/weights; sum++ {
				if sum >= stateful {
					try(i+1, [2]int{left[0] - stateful, left[1] - (sum - stateful)},
						[2]int{moved[0] + max(0, own[i][0]-stateful), moved[1] + max(0, own[i][1]-(sum-stateful))})
				}
			}
		}
	}
	try(0, all, [2]int{})
	return best
}

func kind(task partition.Task) int {
	if task.Stateful {
		return 0
	}
	return 1
}

func TestOrderOfArgumentsDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawWeights(t, drawTasks(t))
		members := drawMembers(t, drawOptions{weighted: true, restricted: rapid.Bool().Draw(t, "restricted"), maxMembers: 6})
		want := partition.Assign(tasks, members)
		shuffle(t, tasks, members)
		if diff := gocmp.Diff(want, partition.Assign(tasks, members)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func shuffle(t *rapid.T, tasks []partition.Task, members []partition.Member) {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	r.Shuffle(len(tasks), func(i, j int) { tasks[i], tasks[j] = tasks[j], tasks[i] })
	r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	for _, m := range members {
		r.Shuffle(len(m.Owned), func(i, j int) { m.Owned[i], m.Owned[j] = m.Owned[j], m.Owned[i] })
		r.Shuffle(len(m.Held), func(i, j int) { m.Held[i], m.Held[j] = m.Held[j], m.Held[i] })
	}
}

func TestAssignmentGivenBackIsNotChanged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawWeights(t, drawTasks(t))
		members := drawMembers(t, drawOptions{weighted: true, restricted: rapid.Bool().Draw(t, "restricted"), maxMembers: 6})
		want := partition.Assign(tasks, members)
		for m := range members {
			members[m].Owned = want[members[m].ID]
		}
		if diff := gocmp.Diff(want, partition.Assign(tasks, members)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A cooperative group gives up tasks in one round and takes them up in the next. A task of the first class, in the order of
// [partition.Assign], must not move in a second round, one of the second class not in a third, and so on: only once an owner
// has given up a stateful task is it free to go to the member that has a copy, which may cost that member a lighter one.
func TestHandOverSettles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawWeights(t, drawTasks(t))
		members := drawMembers(t, drawOptions{weighted: true, restricted: rapid.Bool().Draw(t, "restricted"), maxMembers: 6})
		class := classes(tasks)
		for round := 1; round <= len(tasks)+1; round++ {
			owner, planned := owners(tasks, members), invert(partition.Assign(tasks, members))
			for _, task := range tasks {
				was, is := owner[task.ID], planned[task.ID]
				if was != "" && is != was && round > class[task.ID] {
					t.Fatalf("%s of class %d moves from %s to %s in round %d", task.ID, class[task.ID], was, is, round)
				}
			}
			for m := range members {
				members[m].Owned = nil
				for _, task := range tasks {
					if to := planned[task.ID]; to == members[m].ID && (owner[task.ID] == "" || owner[task.ID] == to) {
						members[m].Owned = append(members[m].Owned, task.ID)
					}
				}
			}
		}
	})
}

// classes numbers the classes, from 1.
func classes(tasks []partition.Task) map[partition.TaskID]int {
	class := map[partition.TaskID]int{}
	sorted := slices.SortedFunc(slices.Values(tasks), compareClass)
	n := 0
	for i, task := range sorted {
		if i == 0 || compareClass(sorted[i-1], task) != 0 {
			n++
		}
		class[task.ID] = n
	}
	return class
}

func compareClass(a, b partition.Task) int {
	return cmp.Or(cmp.Compare(max(b.Weight, 1), max(a.Weight, 1)), cmp.Compare(kind(a), kind(b)))
}

func TestOnlyTheTasksOfALeaverMove(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks, members := settled(t)
		before := owners(tasks, members)
		gone := rapid.IntRange(0, len(members)-1).Draw(t, "leaver")
		leaver := members[gone].ID
		members = slices.Delete(members, gone, gone+1)
		after := invert(partition.Assign(tasks, members))
		var moved, must int
		for _, task := range tasks {
			if !task.Stateful {
				continue
			}
			if before[task.ID] != after[task.ID] {
				moved++
			}
			if before[task.ID] == leaver {
				must++
			}
		}
		if len(members) > 0 && moved != must {
			t.Fatalf("%d stateful tasks moved, %d had lost their member", moved, must)
		}
	})
}

func TestTasksMoveOnlyToAJoiner(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks, members := settled(t)
		before := owners(tasks, members)
		members = append(members, partition.Member{ID: rapid.SampledFrom([]string{"a", "z"}).Draw(t, "joiner")})
		joiner := members[len(members)-1].ID
		after := invert(partition.Assign(tasks, members))
		for _, task := range tasks {
			if task.Stateful && after[task.ID] != before[task.ID] && after[task.ID] != joiner {
				t.Fatalf("%s moved from %s to %s, not to the joiner", task.ID, before[task.ID], after[task.ID])
			}
		}
	})
}

// settled is a group of equal members that runs what it was last assigned.
func settled(t *rapid.T) ([]partition.Task, []partition.Member) {
	tasks := drawTasks(t)
	members := drawMembers(t, drawOptions{maxMembers: 6})
	got := partition.Assign(tasks, members)
	for m := range members {
		members[m].Owned = got[members[m].ID]
	}
	return tasks, members
}

func TestLargeGroupIsBalancedAndDoesNotChurn(t *testing.T) {
	t.Parallel()
	tasks, members := largeGroup()
	for m := range members {
		members[m].Capacity = 1
	}
	got := partition.Assign(tasks, members)
	checkBalance(t, tasks, members, got)
	for m := range members {
		members[m].Owned = got[members[m].ID]
	}
	after := partition.Assign(tasks, members[1:])
	checkBalance(t, tasks, members[1:], after)
	was, is := invert(got), invert(after)
	moved := 0
	for id := range maps.Keys(was) {
		if was[id] != is[id] {
			moved++
		}
	}
	if want := len(members[0].Owned); moved != want {
		t.Fatalf("%d tasks moved, the leaver had %d", moved, want)
	}
}
