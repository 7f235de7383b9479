// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// figures are the metrics of an engine at one moment, by the text before the value.
type figures map[string]float64

func scrape(ctx context.Context, address string) (figures, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read the engine's metrics: %w", err)
	}
	defer resp.Body.Close()
	f := figures{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, text, ok := cutLast(lines.Text())
		if v, err := strconv.ParseFloat(text, 64); ok && err == nil {
			f[name] = v
		}
	}
	return f, lines.Err()
}

func cutLast(line string) (before, after string, found bool) {
	i := strings.LastIndexByte(line, ' ')
	if i < 0 || line[0] == '#' {
		return "", "", false
	}
	return line[:i], line[i+1:], true
}

// sum adds up a metric over its labels.
func (f figures) sum(name string) (total float64) {
	for k, v := range f {
		if k == name || strings.HasPrefix(k, name+"{") {
			total += v
		}
	}
	return total
}

// quantile is that of a histogram without labels, between two moments; within a bucket all values are taken to lie evenly.
func quantile(q float64, name string, from, to figures) float64 {
	type bucket struct{ upTo, count float64 }
	var buckets []bucket
	for k, v := range to {
		rest, ok := strings.CutPrefix(k, name+`_bucket{le="`)
		if !ok {
			continue
		}
		if upTo, err := strconv.ParseFloat(strings.TrimSuffix(rest, `"}`), 64); err == nil {
			buckets = append(buckets, bucket{upTo, v - from[k]})
		}
	}
	slices.SortFunc(buckets, func(a, b bucket) int { return cmp.Compare(a.upTo, b.upTo) })
	if len(buckets) == 0 {
		return 0
	}
	rank, below := q*buckets[len(buckets)-1].count, bucket{}
	for i, b := range buckets {
		if b.count >= rank && b.count > below.count {
			if i == len(buckets)-1 {
				return below.upTo // the last is without end
			}
			return below.upTo + (b.upTo-below.upTo)*(rank-below.count)/(b.count-below.count)
		}
		below = b
	}
	return below.upTo
}
