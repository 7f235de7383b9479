// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

func TestMain(m *testing.M) {
	if size := os.Getenv(childEnv); size != "" {
		os.Exit(child(size))
	}
	os.Exit(m.Run())
}

// short are the options of the short form of the command.
var short = []string{"--workers", "2", "--partitions", "6", "--state", "16MiB", "--rate", "500", "--session-timeout", "2s", "--checkpoint-interval", "2s", "--calm", "2s"}

func TestOutputIsExactWhileWorkersComeAndGo(t *testing.T) {
	kafkabroker.Require(t)
	args := append([]string{"--scenario", "rolling,storm,broker-restart", "--storm", "15s", "--every", "2s"}, short...)
	if code := command(args); code != 0 {
		t.Errorf("pods %v ended with code %d; what it found is above", args, code)
	}
}

// Where an S3 server cannot be built this is skipped: the lines to the object store lead to one.
func TestOutputIsExactWhileWorkersAreStoppedAndCutOff(t *testing.T) {
	kafkabroker.Require(t)
	if os.Getenv("REQUIRE_S3") != "1" {
		t.Skip("it needs an S3 server (REQUIRE_S3=1)")
	}
	args := append([]string{"--scenario", "zombie,broker-away,store-away", "--away", "5s"}, short...)
	if code := command(args); code != 0 {
		t.Errorf("pods %v ended with code %d; what it found is above", args, code)
	}
}
