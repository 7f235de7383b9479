// SPDX-License-Identifier: Apache-2.0

// Streamd is the generic binary: it begins new pipelines and operates running ones.
package main

import (
	"context"
	"os"

	"github.com/streamd/streamd/engine/cli"
)

func main() { os.Exit(cli.Execute(context.Background(), cli.Generic(), os.Args[1:])) }
