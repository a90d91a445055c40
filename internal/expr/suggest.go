package expr

import (
	"cmp"
	"slices"
)

// DidYouMean returns "; did you mean …?" when one of names is a typing error
// away from name, else nothing.
func DidYouMean(name string, names []string) string {
	if len(name) > 40 || len(names) == 0 {
		return ""
	}
	nearest := slices.MinFunc(names, func(a, b string) int {
		return cmp.Compare(distance(name, a), distance(name, b))
	})
	if d := distance(name, nearest); d > 2 || d >= len(nearest) {
		return ""
	}
	return "; did you mean " + nearest + "?"
}

// distance is the number of single-byte edits between two words (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
