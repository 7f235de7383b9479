package statestore_test

import (
	"encoding/binary"
	"fmt"
	"github.com/streamd/streamd/statestore"
	"math/rand/v2"
	"testing"
)

func BenchmarkZ(b *testing.B) {
	for rep := range 3 {
		for _, n := range []uint64{1000, 100000, 1000000} {
			b.Run(fmt.Sprintf("gomap/%d/%d", n, rep), func(b *testing.B) {
				m := map[uint64]uint64{}
				for i := uint64(0); i < n; i++ {
					m[i] = 1
				}
				r := rand.New(rand.NewPCG(1, 2))
				b.ResetTimer()
				for range b.N {
					m[r.Uint64()%n]++
				}
			})
			b.Run(fmt.Sprintf("gomapstr/%d/%d", n, rep), func(b *testing.B) {
				m := map[string]*uint64{}
				var k [8]byte
				for i := uint64(0); i < n; i++ {
					binary.BigEndian.PutUint64(k[:], i)
					m[string(k[:])] = new(uint64)
				}
				r := rand.New(rand.NewPCG(1, 2))
				b.ResetTimer()
				for range b.N {
					binary.BigEndian.PutUint64(k[:], r.Uint64()%n)
					*m[string(k[:])]++
				}
			})
			b.Run(fmt.Sprintf("ours/%d/%d", n, rep), func(b *testing.B) {
				db := benchDB(b, benchMemory)
				c := statestore.NewValue(db, 1, uint64s{})
				var k [8]byte
				for i := uint64(0); i < n; i++ {
					binary.BigEndian.PutUint64(k[:], i)
					c.Put(k[:], 1)
				}
				r := rand.New(rand.NewPCG(1, 2))
				b.ResetTimer()
				for range b.N {
					binary.BigEndian.PutUint64(k[:], r.Uint64()%n)
					p, _, err := c.Update(k[:])
					if err != nil {
						b.Fatal(err)
					}
					*p++
				}
			})
		}
	}
}
