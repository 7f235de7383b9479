// SPDX-License-Identifier: Apache-2.0

package config

// Nearest returns the candidate that was probably meant by got, or "" when none is near.
func Nearest(got string, candidates []string) string {
	best, bestDistance := "", len(got)/3+2
	for _, c := range candidates {
		if d := editDistance(got, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// didYouMean gives ": did you mean X?", or nothing.
func didYouMean(got string, candidates []string) string {
	if n := Nearest(got, candidates); n != "" {
		return ": did you mean " + n + "?"
	}
	return ""
}

// editDistance is the number of letters to insert, delete or replace to turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
