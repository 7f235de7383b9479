// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

func TestMain(m *testing.M) {
	if chosen := os.Getenv(childEnv); chosen != "" {
		os.Exit(child(chosen))
	}
	os.Exit(m.Run())
}

// The short form of the command.
func TestEveryQueryIsRightWhenAWorkerIsKilled(t *testing.T) {
	kafkabroker.Require(t)
	args := []string{"--events", "30000", "--partitions", "4", "--workers", "3", "--parallel", "3", "--session-timeout", "1500ms", "--limit", "90s"}
	if code := command(args); code != 0 {
		t.Errorf("nexmark %v ended with code %d; what it found is above", args, code)
	}
}
