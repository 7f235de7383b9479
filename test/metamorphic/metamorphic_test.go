// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	seed      = flag.Uint64("seed", 0, "the first seed; each pipeline has the next one; 0: any")
	pipelines = flag.Int("pipelines", 150, "how many pipelines run on the test kit")
	engines   = flag.Int("engines", 8, "how many pipelines run on the engine")
)

// firstSeed is the first of a test, which is in its log.
func firstSeed(t *testing.T) uint64 {
	first := *seed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	t.Logf("the first seed is %d", first)
	return first
}

// trial is a pipeline with an input and settings.
type trial struct {
	plan     *plan
	events   []event
	settings settings
}

func drawTrial(seed uint64) trial {
	r := rand.New(rand.NewPCG(seed, 0))
	n := 20 + r.IntN(100)
	c := trial{plan: draw(r, n)}
	c.events = feed(r, c.plan, n)
	c.settings = drawSettings(r, c.plan, len(c.events))
	return c
}

// fault runs the trial both ways and says what is wrong; "": nothing.
func (c trial) fault() string {
	want, err := onKit(c.plan, c.events, plain)
	if err != nil {
		return fmt.Sprintf("the plain run failed: %v", err)
	}
	_, outputs := c.plan.build(nil)
	if d := agree(outputs, want, want); d != "" {
		return "the plain run does not agree with itself:\n" + d
	}
	got, err := onKit(c.plan, c.events, c.settings)
	if err != nil {
		return fmt.Sprintf("the run failed: %v", err)
	}
	return agree(outputs, want, got)
}

// TestAPipelineGivesTheSameResultsUnderAllSettings runs random pipelines on the test kit.
func TestAPipelineGivesTheSameResultsUnderAllSettings(t *testing.T) {
	t.Parallel()
	first := firstSeed(t)
	lanes := make(chan struct{}, 4)
	for i := range *pipelines {
		seed := first + uint64(i)
		lanes <- struct{}{}
		go func() {
			defer func() { <-lanes }()
			c := drawTrial(seed)
			fault := c.fault()
			if fault == "" {
				return
			}
			small, is := c.shrink(60 * time.Second)
			t.Errorf("seed %d; to repeat it: go test ./test/metamorphic -run %s -pipelines 1 -seed %d\n%s\nmade smaller:\n%v", seed, t.Name(), seed, fault, small.describe(is))
		}()
	}
	for range cap(lanes) {
		lanes <- struct{}{}
	}
}
