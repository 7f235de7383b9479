// SPDX-License-Identifier: Apache-2.0

package partition_test

import (
	"testing"

	"github.com/streamd/streamd/partition"
)

// The vectors are those of the Java client's own test of its hash.
func TestMurmur2EqualsTheJavaClient(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(partition.Murmur2([]byte(key))); got != want {
			t.Errorf("Murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestForKeyStripsTheSignOfTheHash(t *testing.T) {
	t.Parallel()
	// -973932308 & 0x7fffffff = 1173551340.
	if got := partition.ForKey([]byte("21"), 1000); got != 340 {
		t.Errorf(`ForKey("21", 1000) = %d, want 340`, got)
	}
	if got := partition.ForKey(nil, 1); got != 0 {
		t.Errorf("ForKey(nil, 1) = %d, want 0", got)
	}
}

func BenchmarkForKey(b *testing.B) {
	key := []byte("customer-0123456789")
	b.SetBytes(int64(len(key)))
	for b.Loop() {
		partition.ForKey(key, 12)
	}
}
