// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Budget is how much memory the process should keep to, and why.
type Budget struct {
	Bytes  int64
	Source string // in words: "setting memory", "80 % of the cgroup limit", ...
}

// MemoryBudget resolves the setting memory: what was set, else a share of the cgroup's limit, else of the machine.
func (c *Config) MemoryBudget() (Budget, error) {
	if c.Memory > 0 {
		return Budget{c.Memory, "setting memory"}, nil
	}
	return detectMemory(os.ReadFile)
}

// unlimitedBytes: cgroup v1 says "no limit" by a huge number.
const unlimitedBytes = 1 << 60

func detectMemory(readFile func(string) ([]byte, error)) (Budget, error) {
	machine, err := machineMemory(readFile)
	for _, f := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		b, err := readFile(f)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err == nil && n > 0 && n < unlimitedBytes && (machine == 0 || n < machine) {
			return Budget{n / 5 * 4, "80 % of the cgroup limit of " + FormatSize(n)}, nil
		}
	}
	if err != nil {
		return Budget{}, fmt.Errorf("find out how much memory there is: %w: set memory, for example 1GiB", err)
	}
	return Budget{machine / 2, "half of the machine's memory"}, nil
}

// machineMemory reads MemTotal, which is in KiB.
func machineMemory(readFile func(string) ([]byte, error)) (int64, error) {
	b, err := readFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "MemTotal:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err == nil {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no MemTotal")
}
