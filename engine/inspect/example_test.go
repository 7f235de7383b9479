// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"fmt"

	"github.com/streamd/streamd/engine/inspect"
)

// An error of a query points at the place that it is about.
func ExampleParse() {
	_, err := inspect.Parse("SELECT key, totl(value.amount) FROM orders")
	fmt.Println(err)
	_, err = inspect.Parse("SELECT value.country, key FROM orders GROUP BY 1")
	fmt.Println(err)
	// Output:
	// query, column 13: there is no function "totl": functions are count, sum, min, max, avg
	//   SELECT key, totl(value.amount) FROM orders
	//               ^
	// query, column 23: key is not the same in all rows of a group: add it to GROUP BY, or use a function such as min(key)
	//   SELECT value.country, key FROM orders GROUP BY 1
	//                         ^
}
