// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"unicode"

	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func main() {
	engine.Main(pipeline(), feedCommand())
}

// The topics of the pipeline.
const (
	linesTopic  = "lines"       // text, in records without a key
	countsTopic = "word-counts" // word → how often it has come so far, as a JSON number
)

func pipeline() *stream.Pipeline {
	p := stream.NewPipeline("wordcount")
	stream.From(p, linesTopic, codec.Bytes, codec.String).
		FlatMap(splitWords).
		KeyBy("by-word", func(word string) string { return word }).
		Group().
		Count("counts").
		Stream(stream.EmitPerCommit()).
		To(countsTopic, codec.JSON[int64]())
	return p
}

// splitWords yields the words of a line in lower case. A word is a run of letters, digits and apostrophes.
func splitWords(line string, yield func(string)) {
	for word := range strings.FieldsFuncSeq(strings.ToLower(line), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\''
	}) {
		yield(word)
	}
}
