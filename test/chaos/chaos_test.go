// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

func TestMain(m *testing.M) {
	if groups := os.Getenv(childEnv); groups != "" {
		os.Exit(child(groups))
	}
	os.Exit(m.Run())
}

// The short form of the command. With a real S3 server, which the machine must be able to build, the object store is
// cut off for a while too.
func TestNothingIsLostOrRepeatedWhenWorkersAreKilled(t *testing.T) {
	kafkabroker.Require(t)
	args := []string{"--records", "300000", "--keys", "5000", "--groups", "50", "--kills", "4", "--every", "3s", "--drain", "--wipe", "--zombie", "--checkpoint-interval", "1s"}
	if os.Getenv("REQUIRE_S3") == "1" {
		args = append(args, "--store-outage", "5s")
	}
	if code := command(args); code != 0 {
		t.Errorf("chaos %v ended with code %d; what it found is above", args, code)
	}
}
