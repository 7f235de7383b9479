// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/streamtest"
)

// countWords counts in one pass over the whole text, with another definition of what a word is.
func countWords(text string) map[string]int64 {
	counts := map[string]int64{}
	for _, word := range regexp.MustCompile(`[\p{L}\p{Nd}']+`).FindAllString(strings.ToLower(text), -1) {
		counts[word]++
	}
	return counts
}

func TestEveryWordOfATextIsCounted(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := countWords(string(text))
	if len(want) < 50 {
		t.Fatalf("the text has %d words, too few to show anything", len(want))
	}
	d := streamtest.New(t, pipeline(), streamtest.Partitions(4))
	lines := d.In(linesTopic, codec.Bytes, codec.String)
	for line := range strings.Lines(string(text)) {
		lines.Send(nil, line)
	}
	d.Run()
	if diff := cmp.Diff(want, streamtest.ReadTable(d.Out(countsTopic, codec.String, codec.JSON[int64]()))); diff != "" {
		t.Errorf("topic %s (-counted +pipeline):\n%s", countsTopic, diff)
	}
	if diff := cmp.Diff(want, maps.Collect(d.State("counts", codec.String, codec.Int64).All())); diff != "" {
		t.Errorf("state (-counted +pipeline):\n%s", diff)
	}
}

func TestCrashesAndPartitionsDoNotChangeTheCounts(t *testing.T) {
	t.Parallel()
	const text = "To be, or not to be:\nthat is the question.\nWhether 'tis nobler in the mind to suffer"
	streamtest.ThreeWays(t, pipeline(), func(d *streamtest.Driver) {
		lines := d.In(linesTopic, codec.Bytes, codec.String)
		for line := range strings.Lines(text) {
			lines.Send(nil, line)
		}
		d.Run()
		if diff := cmp.Diff(countWords(text), streamtest.ReadTable(d.Out(countsTopic, codec.String, codec.JSON[int64]()))); diff != "" {
			t.Errorf("counts (-counted +pipeline):\n%s", diff)
		}
	}, streamtest.NewestOnly())
}
