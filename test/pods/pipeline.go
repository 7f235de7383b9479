// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/test/fleet"
)

// Names of the application and of its topics.
const (
	app     = "pods"
	events  = "events"
	updates = "updates"
)

// childEnv makes the process a worker; its value is the mean size of a value of the state. The settings come from the
// environment like those of any worker.
const childEnv = "PODS_WORKER"

// child is the process of a worker. It returns the exit code.
func child(size string) int {
	n, err := strconv.Atoi(size)
	if err != nil {
		fmt.Fprintf(os.Stderr, "worker: read %s: %v\n", childEnv, err)
		return 1
	}
	return fleet.Child(pipeline(n), false)
}

// event is an input record: number n of a key is n.
type event struct{ Key, Number uint64 }

// account is the state of a key: how many events it had, and how many of them did not follow the one before, or found a
// state that was not the one before.
type account struct {
	update
	Filler []byte // follows from the key and the count
}

// update is an output record.
type update struct{ Count, Faults uint64 }

// pairBytes is the size of two numbers.
const pairBytes = 16

func appendPair(dst []byte, a, b uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, a), b)
}

func readPair(src []byte) (a, b uint64) {
	return binary.BigEndian.Uint64(src), binary.BigEndian.Uint64(src[8:])
}

var (
	eventCodec = codec.New("pods.event",
		func(dst []byte, e event) ([]byte, error) { return appendPair(dst, e.Key, e.Number), nil },
		func(src []byte) (e event, err error) {
			if len(src) != pairBytes {
				return e, fmt.Errorf("decode pods.event: %d bytes, expected %d", len(src), pairBytes)
			}
			e.Key, e.Number = readPair(src)
			return e, nil
		})
	updateCodec = codec.New("pods.update",
		func(dst []byte, u update) ([]byte, error) { return appendPair(dst, u.Count, u.Faults), nil },
		func(src []byte) (u update, err error) {
			if len(src) != pairBytes {
				return u, fmt.Errorf("decode pods.update: %d bytes, expected %d", len(src), pairBytes)
			}
			u.Count, u.Faults = readPair(src)
			return u, nil
		})
	accountCodec = codec.New("pods.account",
		func(dst []byte, a account) ([]byte, error) {
			return append(appendPair(dst, a.Count, a.Faults), a.Filler...), nil
		},
		func(src []byte) (a account, err error) {
			if len(src) < pairBytes {
				return a, fmt.Errorf("decode pods.account: %d bytes, expected at least %d", len(src), pairBytes)
			}
			a.Count, a.Faults = readPair(src)
			a.Filler = bytes.Clone(src[pairBytes:])
			return a, nil
		})
)

// pipeline is what the workers run, with values of a mean size.
func pipeline(size int) *stream.Pipeline {
	p := stream.NewPipeline(app)
	stream.From(p, events, codec.Uint64, eventCodec).
		Group().
		Aggregate("account", func() account { return account{} }, func(a account, e event) account { return take(a, e, size) }, accountCodec).
		Stream().
		Map(func(a account) update { return a.update }).
		WithValue(updateCodec).
		To(updates)
	return p
}

// take checks the state that an event finds, and makes the next one.
func take(a account, e event, size int) account {
	if e.Number != a.Count+1 || a.Count > 0 && !bytes.Equal(a.Filler, filler(e.Key, a.Count, size)) {
		a.Faults++
	}
	return account{update{a.Count + 1, a.Faults}, filler(e.Key, a.Count+1, size)}
}

// filler is what follows from a key and a count: bytes that cannot be compressed, half to one and a half times the size.
func filler(key, count uint64, size int) []byte {
	n := size/2 + int(mix(key)%uint64(size))
	b := make([]byte, 0, n+8)
	for x := mix(key<<20 ^ count); len(b) < n; x = mix(x) {
		b = binary.BigEndian.AppendUint64(b, x)
	}
	return b[:n]
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
