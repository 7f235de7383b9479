// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
	"time"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

func TestMain(m *testing.M) {
	if groups := os.Getenv(childEnv); groups != "" {
		os.Exit(child(groups))
	}
	os.Exit(m.Run())
}

// The short form of the command: real processes, a real broker, kills, a loss of all state, a zombie, a store outage.
func TestNothingIsLostOrRepeatedWhenWorkersAreKilled(t *testing.T) {
	kafkabroker.Require(t)
	o := defaults()
	o.Seed, o.Records, o.Kills, o.Keys = 1, 400_000, 4, 5_000
	o.SessionTimeout, o.CheckpointInterval, o.Pause = 3*time.Second, time.Second, time.Second
	o.Wipe, o.Zombie, o.StoreOutage = true, true, 5*time.Second
	rep, err := runChaos(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	rep.print(t.Output())
	for _, f := range rep.Faults {
		t.Error(f)
	}
	if rep.Kills == 0 || rep.Zombies == 0 || rep.OutageAge == 0 {
		t.Errorf("a fault did not happen: %+v", rep)
	}
}
