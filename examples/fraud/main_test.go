// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/streamtest"
)

// alerts reads what there is of each card, sorted.
func alerts(d *streamtest.Driver) map[string][]string {
	all := map[string][]string{}
	for _, r := range d.Out(alertsTopic, codec.String, codec.JSON[Alert]()).Read() {
		all[r.Key] = append(all[r.Key], fmt.Sprintf("%s: %s, %d", r.Time.UTC().Format(time.DateTime), r.Value.Reason, r.Value.Cents))
		slices.Sort(all[r.Key])
	}
	return all
}

func TestTheFileOfTheReadmeGivesWhatItSays(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("card-events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	d := streamtest.New(t, pipeline(), streamtest.Partitions(1))
	for line := range strings.Lines(string(text)) {
		d.SendRaw(eventsTopic, nil, []byte(line))
	}
	d.Finish()
	want := map[string][]string{
		"c-1": {"2025-03-01 09:30:00: in AT and BR, 2000"},
		"c-2": {"2025-03-01 09:15:00: not confirmed, 250000"},
	}
	if diff := cmp.Diff(want, alerts(d)); diff != "" {
		t.Errorf("topic %s (-want +got):\n%s", alertsTopic, diff)
	}
	var dead []string
	for _, r := range d.Out(deadTopic, codec.Bytes, codec.String).Read() {
		dead = append(dead, r.Value)
	}
	if len(dead) != 2 || !strings.Contains(dead[0], `"cents":0`) || !strings.HasPrefix(dead[1], "this is not an event") {
		t.Errorf("topic %s has %q, want the payment of nothing and the line that is not an event", deadTopic, dead)
	}
}

// randomEvents are those of a few cards, in the order of time.
func randomEvents(n int) []Event {
	random := rand.New(rand.NewPCG(8, 13))
	at := time.Unix(1_000_000, 0).UTC()
	var events []Event
	for range n {
		at = at.Add(time.Duration(1+random.IntN(300)) * time.Second)
		e := Event{Card: fmt.Sprint("c-", random.IntN(3)), Kind: confirmation, At: at}
		if random.IntN(3) > 0 {
			e.Kind, e.Cents, e.Country = payment, 1+random.Int64N(150_000), []string{"AT", "US"}[random.IntN(2)]
		}
		events = append(events, e)
	}
	return events
}

// judged says what is to be alerted, each payment looked at with those before and after it.
func judged(events []Event) map[string][]string {
	all := map[string][]string{}
	alert := func(at time.Time, card, reason string, cents int64) {
		all[card] = append(all[card], fmt.Sprintf("%s: %s, %d", at.Format(time.DateTime), reason, cents))
		slices.Sort(all[card])
	}
	for i, e := range events {
		if e.Kind != payment {
			continue
		}
		for _, before := range slices.Backward(events[:i]) {
			if before.Card == e.Card && before.Kind == payment {
				if before.Country != e.Country && e.At.Sub(before.At) < 60*time.Minute {
					alert(e.At, e.Card, "in "+before.Country+" and "+e.Country, e.Cents)
				}
				break
			}
		}
		due := e.At.Add(10 * time.Minute)
		answered := slices.ContainsFunc(events[i+1:], func(after Event) bool {
			return after.Card == e.Card && after.At.Before(due) && after.Kind == confirmation
		})
		if e.Cents >= 100_000 && !answered {
			alert(due, e.Card, "not confirmed", e.Cents)
		}
	}
	return all
}

func TestAlertsAreThoseOfAllEventsSeenAtOnce(t *testing.T) {
	t.Parallel()
	events := randomEvents(60)
	want := judged(events)
	if len(want) < 3 {
		t.Fatalf("there are alerts for %d cards, too few to show anything", len(want))
	}
	streamtest.ThreeWays(t, pipeline(), func(d *streamtest.Driver) {
		for _, e := range events {
			raw, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			d.SendRaw(eventsTopic, nil, raw)
		}
		d.Finish()
		if diff := cmp.Diff(want, alerts(d)); diff != "" {
			t.Errorf("alerts (-computed +pipeline):\n%s", diff)
		}
	}, streamtest.AnyOrder(alertsTopic))
}
