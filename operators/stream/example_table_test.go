// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"strings"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// remove sends a record with a null value, which deletes the key's row of a table.
func (r *rig) remove(topic, key string) {
	if err := r.feed(operators.Record{Topic: topic, Key: []byte(key), Time: r.next[topic] + 1}, false); err != nil {
		panic(err)
	}
}

func ExampleTableFrom() {
	p := stream.NewPipeline("names")
	stream.TableFrom(p, "names", codec.String, codec.String).Stream().To("updates")

	run := newRig(p)
	run.send("names", "1", "ann", "2", "bob", "1", "anne")
	run.remove("names", "2")
	run.print()
	// Output:
	// updates: 1=ann
	// updates: 2=bob
	// updates: 1=anne
}

func ExampleAs() {
	p := stream.NewPipeline("names")
	stream.TableFrom(p, "crm.public.names", codec.String, codec.String, stream.As("names"))

	t, _ := p.Build()
	fmt.Println(t.SubTopologies[0].Stores[0].Name)
	// Output: names
}

func ExampleStream_Table() {
	p := stream.NewPipeline("last-seen")
	stream.From(p, "logins", codec.String, codec.String).
		KeyBy("by-user", func(user string) string { return user }).
		Table("last-login").
		To("last-logins")

	run := newRig(p)
	run.send("logins", "1", "ann", "2", "ann")
	run.print()
	// Output:
	// last-logins: ann=ann
	// last-logins: ann=ann
}

func ExampleTable_To() {
	p := stream.NewPipeline("short-names")
	stream.TableFrom(p, "names", codec.String, codec.String).
		Filter(func(name string) bool { return len(name) < 4 }).
		To("short-names")

	run := newRig(p)
	run.send("names", "1", "ann", "2", "charles", "1", "annabel")
	for _, o := range run.out {
		fmt.Printf("%s is deleted: %t\n", o.key, o.value == nil)
	}
	run.close()
	// Output:
	// 1 is deleted: false
	// 1 is deleted: true
}

func ExampleChanges() {
	p := stream.NewPipeline("moves")
	homes := stream.TableFrom(p, "homes", codec.String, codec.String)
	stream.Changes(homes).
		Map(func(c stream.Change[string]) string {
			switch {
			case !c.HasOld:
				return "came to " + c.New
			case !c.HasNew:
				return "left " + c.Old
			default:
				return "moved from " + c.Old + " to " + c.New
			}
		}).
		To("moves", codec.String)

	run := newRig(p)
	run.send("homes", "ann", "oslo", "ann", "rome")
	run.remove("homes", "ann")
	run.print()
	// Output:
	// moves: ann=came to oslo
	// moves: ann=moved from oslo to rome
	// moves: ann=left rome
}

func ExampleTable_Filter() {
	p := stream.NewPipeline("active")
	stream.TableFrom(p, "states", codec.String, codec.String).
		Filter(func(state string) bool { return state == "active" }).
		Stream().
		To("active")

	run := newRig(p)
	run.send("states", "ann", "active", "bob", "asleep", "ann", "asleep", "bob", "active")
	run.print()
	// Output:
	// active: ann=active
	// active: bob=active
}

func ExampleTable_FilterKV() {
	p := stream.NewPipeline("without-tests")
	stream.TableFrom(p, "users", codec.String, codec.String).
		FilterKV(func(id, _ string) bool { return !strings.HasPrefix(id, "test-") }).
		Stream().
		To("real-users")

	run := newRig(p)
	run.send("users", "test-1", "ann", "2", "bob")
	run.print()
	// Output: real-users: 2=bob
}

func ExampleTable_Map() {
	p := stream.NewPipeline("upper")
	stream.TableFrom(p, "names", codec.String, codec.String).Map(strings.ToUpper).Stream().To("upper")

	run := newRig(p)
	run.send("names", "1", "ann")
	run.print()
	// Output: upper: 1=ANN
}

func ExampleTable_MapWithKey() {
	p := stream.NewPipeline("labels")
	stream.TableFrom(p, "names", codec.String, codec.String).
		MapWithKey(func(id, name string) string { return id + ": " + name }).
		Stream().
		To("labels")

	run := newRig(p)
	run.send("names", "1", "ann")
	run.print()
	// Output: labels: 1=1: ann
}

func ExampleTable_Store() {
	p := stream.NewPipeline("short-names")
	stream.TableFrom(p, "names", codec.String, codec.String).
		Filter(func(name string) bool { return len(name) < 4 }).
		Store("short-names"). // can be looked up now
		Stream(stream.EmitPerCommit()).
		To("updates")

	run := newRig(p)
	run.send("names", "1", "ann", "1", "bob")
	run.print()
	// Output: updates: 1=bob
}

func ExampleTable_Repartition() {
	p := stream.NewPipeline("managers")
	managerOf := stream.TableFrom(p, "manager-of", codec.String, codec.String)
	managerOf.
		JoinForeign("manager-of-manager",
			func(manager string) (string, bool) { return manager, true },
			managerOf.Repartition("managers"),
			func(manager, above string) string { return above + " through " + manager }).
		Stream().
		To("bosses")

	run := newRig(p)
	run.send("manager-of", "bob", "ann", "cem", "bob")
	run.print()
	// Output: bosses: cem=ann through bob
}

func ExampleTable_WithValue() {
	type Name struct{ First string }
	p := stream.NewPipeline("names")
	stream.TableFrom(p, "names", codec.String, codec.String).
		Map(func(s string) Name { return Name{First: s} }).
		WithValue(codec.JSON[Name]()).
		Store("structured").
		Stream().
		To("structured-names")

	run := newRig(p)
	run.send("names", "1", "ann")
	run.print()
	// Output: structured-names: 1={"First":"ann"}
}

func ExampleTable_GroupBy() {
	p := stream.NewPipeline("staff")
	stream.TableFrom(p, "employees", codec.String, codec.String).
		GroupBy("by-office", func(_, office string) string { return office }).
		Count("staff-per-office").
		Stream().
		To("staff")

	run := newRig(p)
	run.send("employees", "ann", "oslo", "bob", "oslo", "ann", "rome")
	run.print()
	// Output:
	// staff: oslo=1
	// staff: oslo=2
	// staff: oslo=1
	// staff: rome=1
}

func ExampleTableGroup_Count() {
	p := stream.NewPipeline("staff")
	offices := stream.TableFrom(p, "employees", codec.String, codec.String).
		GroupBy("by-office", func(_, office string) string { return office }).
		Count("staff-per-office")
	stream.Changes(offices).
		Filter(func(c stream.Change[int64]) bool { return !c.HasNew }).
		Map(func(stream.Change[int64]) string { return "closed" }).
		To("closed-offices")

	run := newRig(p)
	run.send("employees", "ann", "oslo", "ann", "rome")
	run.print()
	// Output: closed-offices: oslo=closed
}

func ExampleTableGroup_Reduce() {
	p := stream.NewPipeline("wealth")
	stream.TableFrom(p, "balances", codec.String, codec.JSON[int64]()).
		GroupBy("by-bank", func(account string, _ int64) string { return account[:2] }).
		Reduce("total",
			func(total, balance int64) int64 { return total + balance },
			func(total, balance int64) int64 { return total - balance }).
		Stream().
		To("totals", codec.Int64)

	run := newRig(p)
	run.send("balances", "DE-1", "100", "DE-2", "50", "DE-1", "70")
	run.print()
	// Output:
	// totals: DE=100
	// totals: DE=150
	// totals: DE=120
}

func ExampleTableGroup_Aggregate() {
	type Load struct{ Jobs, Minutes int }
	type Job struct {
		Machine string
		Minutes int
	}
	p := stream.NewPipeline("load")
	stream.TableFrom(p, "jobs", codec.String, codec.JSON[Job]()).
		GroupBy("by-machine", func(_ string, j Job) string { return j.Machine }).
		Aggregate("load", func() Load { return Load{} },
			func(l Load, j Job) Load { return Load{l.Jobs + 1, l.Minutes + j.Minutes} },
			func(l Load, j Job) Load { return Load{l.Jobs - 1, l.Minutes - j.Minutes} },
			codec.JSON[Load]()).
		Stream().
		To("loads")

	run := newRig(p)
	run.send("jobs", "1", `{"Machine":"a","Minutes":5}`, "2", `{"Machine":"a","Minutes":7}`, "1", `{"Machine":"b","Minutes":5}`)
	run.print()
	// Output:
	// loads: a={"Jobs":1,"Minutes":5}
	// loads: a={"Jobs":2,"Minutes":12}
	// loads: a={"Jobs":1,"Minutes":7}
	// loads: b={"Jobs":1,"Minutes":5}
}
