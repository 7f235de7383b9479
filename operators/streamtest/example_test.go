// SPDX-License-Identifier: Apache-2.0

package streamtest_test

import (
	"fmt"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// visits counts visits per page, from records of user and page.
func visits() *stream.Pipeline {
	p := stream.NewPipeline("visits")
	stream.From(p, "visits", codec.String, codec.String).
		KeyBy("by-page", func(page string) string { return page }).
		Group().
		Count("visits-per-page").
		Stream().
		To("visits-per-page")
	return p
}

// exampleTest stands in for the *testing.T that an example does not have.
type exampleTest struct{ cleanups []func() }

func (t *exampleTest) Helper()             {}
func (t *exampleTest) Logf(string, ...any) {}
func (t *exampleTest) Cleanup(f func())    { t.cleanups = append(t.cleanups, f) }
func (t *exampleTest) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

func (t *exampleTest) end() {
	for _, f := range t.cleanups {
		f()
	}
}

// A test sends records, runs the pipeline and reads what it wrote.
func Example() {
	t := &exampleTest{} // in a test: its *testing.T
	defer t.end()

	d := streamtest.New(t, visits())
	in := d.In("visits", codec.String, codec.String)
	in.Send("ann", "/home")
	in.Send("bob", "/home")
	in.Send("ann", "/cart")
	d.Run()

	for _, r := range d.Out("visits-per-page", codec.String, codec.Int64).Read() {
		fmt.Println(r.Key, r.Value)
	}
	// Output:
	// /home 1
	// /home 2
	// /cart 1
}

// What a crash interrupts is done again, and counts once.
func ExampleDriver_Crash() {
	t := &exampleTest{} // in a test: its *testing.T
	defer t.end()

	d := streamtest.New(t, visits())
	in := d.In("visits", codec.String, codec.String)
	in.Send("ann", "/home")
	d.Run()
	in.Send("bob", "/home")
	fmt.Println("processed and not committed:", d.Process(1))
	d.Crash()
	d.Run()

	for _, r := range d.Out("visits-per-page", codec.String, codec.Int64).Read() {
		fmt.Println(r.Key, r.Value)
	}
	// Output:
	// processed and not committed: 1
	// /home 1
	// /home 2
}

// State is read by the name of the step that keeps it.
func ExampleDriver_State() {
	t := &exampleTest{} // in a test: its *testing.T
	defer t.end()

	d := streamtest.New(t, visits())
	d.In("visits", codec.String, codec.String).Send("ann", "/home")
	d.Run()
	d.LoseDisk()

	n, found := d.State("visits-per-page", codec.String, codec.Int64).Get("/home")
	fmt.Println(n, found)
	// Output: 1 true
}

// One script shows that the pipeline is right straight, with a crash after every record, and at another number of
// partitions.
func ExampleThreeWays() {
	t := &exampleTest{} // in a test: its *testing.T
	defer t.end()

	streamtest.ThreeWays(t, visits(), func(d *streamtest.Driver) {
		in := d.In("visits", codec.String, codec.String)
		for i := range 10 {
			in.Send(fmt.Sprint("user ", i), fmt.Sprint("/page/", i%3))
		}
		d.Run()
		fmt.Println(streamtest.ReadTable(d.Out("visits-per-page", codec.String, codec.Int64)))
	})
	// Output:
	// map[/page/0:4 /page/1:3 /page/2:3]
	// map[/page/0:4 /page/1:3 /page/2:3]
	// map[/page/0:4 /page/1:3 /page/2:3]
}
