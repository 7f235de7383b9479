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
