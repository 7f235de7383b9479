// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
)

const referenceHead = `# Configuration reference

<!-- Made from the table in engine/config/setting.go by its test: make rewrite. -->

Each setting has one name. From it follow the flag, the environment variable and the key in the file:

| | for ` + "`commit.interval`" + ` |
|---|---|
| flag | ` + "`--commit-interval 100ms`" + ` |
| environment | ` + "`STREAMD_COMMIT_INTERVAL=100ms`" + ` |
| file (YAML) | ` + "`commit: {interval: 100ms}`, or `commit.interval: 100ms`" + ` |

A value is taken from the first of **flag, environment, file, default**. The file is named by ` + "`--config`" + ` or by
` + "`STREAMD_CONFIG`" + `. A name that does not exist is an error, in the file and in the environment; variables that Kubernetes
makes for a Service whose name begins with "streamd" are ignored. ` + "`config view --origin`" + ` prints each value and where it
came from. All problems are reported at once.

- **duration**: ` + "`100ms`, `30s`, `5m`" + `.
- **size**: bytes with a unit: ` + "`64KiB`, `512MiB`, `1.5GiB`" + ` (powers of 1024), ` + "`1MB`" + ` (powers of 1000).
- **list**: separated by commas; in the file also a YAML list.
- **Secrets** are never values: settings that end in ` + "`-file`" + ` name files that hold them.
`

// Reference writes docs/reference/configuration.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	group := ""
	for _, s := range Settings() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n## %s\n\n| Setting | Type | Default | Meaning |\n|---|---|---|---|\n", group)
		}
		def := "(empty)"
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s`<br>`--%s`<br>`%s` | %s | %s | %s |\n",
			s.Name, s.Flag(), s.Env(), strings.ReplaceAll(s.Type, "|", ", "), def, strings.ReplaceAll(s.Doc, "|", `\|`))
	}
	return b.String()
}
