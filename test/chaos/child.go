// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/streamd/streamd/test/fleet"
)

// childEnv makes the process a worker; its value is the number of groups. The settings come from the environment
// like those of any worker.
const childEnv = "CHAOS_WORKER"

// child is the process of a worker. It returns the exit code.
func child(groups string) int {
	n, err := strconv.ParseUint(groups, 10, 64)
	if err != nil {
		fmt.Fprintf(os.Stderr, "worker: read %s: %v\n", childEnv, err)
		return 1
	}
	return fleet.Child(pipeline(n), false)
}
