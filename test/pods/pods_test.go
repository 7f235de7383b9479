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

// The short form of the command. With a real S3 server, which the machine must be able to build, workers are also stopped and
// cut off.
func TestOutputIsExactWhileWorkersComeAndGo(t *testing.T) {
	kafkabroker.Require(t)
	scenarios := "rolling,storm,broker-restart"
	if os.Getenv("REQUIRE_S3") == "1" {
		scenarios += ",zombie,broker-away,store-away"
	}
	args := []string{
		"--scenario", scenarios, "--workers", "2", "--partitions", "6", "--state", "16MiB", "--rate", "500", "--queries", "200", "--calm", "1s",
		"--storm", "10s", "--every", "2s", "--away", "4s", "--session-timeout", "2s", "--checkpoint-interval", "2s",
	}
	if code := command(args); code != 0 {
		t.Errorf("pods %v ended with code %d; what it found is above", args, code)
	}
}
