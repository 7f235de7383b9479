// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

func TestMain(m *testing.M) {
	if line := os.Getenv(childEnv); line != "" {
		child(line)
	}
	os.Exit(m.Run())
}

// The short form of the command.
func TestEveryRoundIsACutFromWhichThePipelineGoesOn(t *testing.T) {
	kafkabroker.Require(t)
	args := []string{"--cuts", "3", "--rescales", "1", "--tail", "12000", "--every", "4s", "--parallel", "3", "--session-timeout", "1500ms", "--limit", "90s"}
	if code := command(args); code != 0 {
		t.Errorf("cuts %v ended with code %d; what it found is above", args, code)
	}
}
