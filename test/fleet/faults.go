// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"os"
	"sync"
)

// Faults are broken promises. Safe for concurrent use.
type Faults struct {
	mu struct {
		sync.Mutex
		total int
		first []string
	}
}

// keptFaults bounds what is printed: one lost epoch breaks thousands of checks.
const keptFaults = 25

// Add notes a broken promise and prints it to stderr.
func (f *Faults) Add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.total++
	if len(f.mu.first) < keptFaults {
		text := fmt.Sprintf(format, args...)
		f.mu.first = append(f.mu.first, text)
		fmt.Fprintln(os.Stderr, "FAULT:", text)
	}
}

// List returns the first of them, and how many more there are.
func (f *Faults) List() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.mu.first
	if more := f.mu.total - len(all); more > 0 {
		all = append(all[:len(all):len(all)], fmt.Sprintf("… and %d more", more))
	}
	return all
}
