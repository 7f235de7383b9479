// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/streamd/streamd/partition"
)

// This file is the only one that spells object names. It is pure.

const (
	maxIDBytes = 200
	// condemnedList and condemnedSeen end the names of a list of condemned objects and of the mark that it was seen.
	condemnedList = ".json"
	condemnedSeen = ".seen"
)

// CheckID says whether s may be part of object names: as application name, owner generation or savepoint
// name. Allowed are 1 to 200 letters, digits, '.', '_' and '-', not beginning with '.'. The error wraps
// ErrInvalid.
func CheckID(s string) error {
	if s == "" || len(s) > maxIDBytes || s[0] == '.' {
		return fmt.Errorf("%w: %.40q is not a name of 1 to %d characters without a leading dot", ErrInvalid, s, maxIDBytes)
	}
	for _, c := range []byte(s) {
		if !isNameByte(c) {
			return fmt.Errorf("%w: %.40q has characters other than letters, digits, '.', '_' and '-'", ErrInvalid, s)
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

func notNameRune(c rune) bool { return c >= 0x80 || !isNameByte(byte(c)) }

// life spells the names of one incarnation of an application.
type life struct {
	app         string
	incarnation int
}

func clockName(app string) string { return app + "/clock" }

func claimsName(app string) string         { return app + "/gc/claims/" }
func claimName(app string, n int64) string { return fmt.Sprintf("%s%010d.json", claimsName(app), n) }

// parseClaim reads a name below claimsName.
func parseClaim(app, name string) (int64, bool) {
	rest, ok := strings.CutPrefix(name, claimsName(app))
	number, isClaim := strings.CutSuffix(rest, ".json")
	if !ok || !isClaim {
		return 0, false
	}
	return parseRound(number)
}

func (l life) root() string                  { return fmt.Sprintf("%s/%d/", l.app, l.incarnation) }
func (l life) application() string           { return l.root() + "application.json" }
func (l life) initialized() string           { return l.root() + "initialized" }
func (l life) rounds() string                { return l.root() + "rounds/" }
func (l life) round(n int64) string          { return fmt.Sprintf("%s%010d/", l.rounds(), n) }
func (l life) started(n int64) string        { return l.round(n) + "started" }
func (l life) complete(n int64) string       { return l.round(n) + "complete" }
func (l life) abandoned(n int64) string      { return l.round(n) + "abandoned" }
func (l life) objects() string               { return l.root() + "objects/" }
func (l life) resumed(n int64) string        { return l.round(n) + "resumed" }
func (l life) floors() string                { return l.root() + "gc/floor/" }
func (l life) floor(n int64) string          { return fmt.Sprintf("%s%010d", l.floors(), n) }
func (l life) condemned() string             { return l.root() + "gc/condemned/" }
func (l life) condemnation(id string) string { return l.condemned() + id + condemnedList }
func (l life) borrowers() string             { return l.root() + "borrowers/" }
func (l life) borrower(app string) string    { return l.borrowers() + app }
func (l life) savepoints() string            { return l.root() + "savepoints/" }
func (l life) savepoint(n string) string     { return l.savepoints() + n + ".json" }
func (l life) runs() string                  { return l.root() + "runs/" }
func (l life) run(n int64) string            { return fmt.Sprintf("%s%010d/begun", l.runs(), n) }
func (l life) runEnded(n int64) string       { return fmt.Sprintf("%s%010d/ended", l.runs(), n) }

func (l life) manifest(n int64, task partition.TaskID) string {
	return l.round(n) + "tasks/" + task.String() + ".json"
}

// object names a state file. attempt is unique to one call of Publish, so that a name is never written
// again after collection may have had a reason to delete it.
func (l life) object(generation string, round int64, attempt, sha256 string) string {
	return fmt.Sprintf("%s%s.%d.%s/%s", l.objects(), generation, round, attempt, sha256)
}

// roundEntry is what an object below rounds() stands for.
type roundEntry struct {
	round int64
	kind  roundEntryKind
	task  partition.TaskID // of a manifest
}

type roundEntryKind int

const (
	entryStarted roundEntryKind = iota
	entryManifest
	entryComplete
	entryAbandoned
	entryResumed
)

// roundObjects are those of a round beside the manifests.
var roundObjects = map[string]roundEntryKind{"started": entryStarted, "complete": entryComplete, "abandoned": entryAbandoned, "resumed": entryResumed}

// parseRoundEntry reads a name below rounds(). Names that streamd would not write are not ok.
func (l life) parseRoundEntry(name string) (e roundEntry, ok bool) {
	rest, ok := strings.CutPrefix(name, l.rounds())
	if !ok {
		return e, false
	}
	number, rest, _ := strings.Cut(rest, "/")
	if e.round, ok = parseRound(number); !ok {
		return e, false
	}
	if kind, known := roundObjects[rest]; known {
		e.kind = kind
		return e, true
	}
	e.kind = entryManifest
	id := strings.TrimSuffix(strings.TrimPrefix(rest, "tasks/"), ".json")
	task, err := partition.ParseTaskID(id)
	e.task = task
	return e, err == nil && name == l.manifest(e.round, task)
}

// isCondemnation says whether an object below condemned() is a list of condemned objects.
func isCondemnation(name string) bool { return strings.HasSuffix(name, condemnedList) }

// seenMark names the mark that a list of condemned objects was seen.
func seenMark(list string) string { return strings.TrimSuffix(list, condemnedList) + condemnedSeen }

// parseSeenMark returns the list of condemned objects that a mark is of.
func parseSeenMark(name string) (list string, ok bool) {
	list, ok = strings.CutSuffix(name, condemnedSeen)
	return list + condemnedList, ok
}

func (l life) parseFloor(name string) (int64, bool) {
	rest, ok := strings.CutPrefix(name, l.floors())
	if !ok {
		return 0, false
	}
	return parseRound(rest)
}

// parseRun reads a name below runs().
func (l life) parseRun(name string) (n int64, ended, ok bool) {
	rest, ok := strings.CutPrefix(name, l.runs())
	if !ok {
		return 0, false, false
	}
	number, what, _ := strings.Cut(rest, "/")
	n, ok = parseRound(number)
	return n, what == "ended", ok && (what == "ended" || what == "begun")
}

// parseRound reads the ten digits (or more, past ten thousand million rounds) of a round number.
func parseRound(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0 && fmt.Sprintf("%010d", n) == s
}

// parseIncarnation says to which incarnation of the application a name belongs.
func parseIncarnation(app, name string) (int, bool) {
	rest, ok := strings.CutPrefix(name, app+"/")
	if !ok {
		return 0, false
	}
	number, _, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(number)
	return n, err == nil && n > 0 && strconv.Itoa(n) == number
}

// checkObjectName says whether name is one that object() gives, for any application and incarnation
// (manifests of a fork name objects of its origin), and for this content.
func checkObjectName(name, sha256 string) error {
	parts := strings.Split(name, "/")
	if len(parts) != 5 || parts[2] != "objects" {
		return fmt.Errorf("object name %.120q is not of the form <app>/<incarnation>/objects/<upload>/<sha256>", name)
	}
	if err := CheckID(parts[0]); err != nil {
		return err
	}
	if _, ok := parseIncarnation(parts[0], name); !ok {
		return fmt.Errorf("object name %.120q has no valid incarnation", name)
	}
	if folder := parts[3]; folder == "" || folder[0] == '.' || strings.ContainsFunc(folder, notNameRune) {
		return fmt.Errorf("object name %.120q has characters that are not allowed", name)
	}
	if parts[4] != sha256 {
		return fmt.Errorf("object name %.120q does not end with the content's hash %s", name, sha256)
	}
	return nil
}
