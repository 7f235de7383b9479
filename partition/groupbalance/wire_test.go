// SPDX-License-Identifier: Apache-2.0

package groupbalance

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/streamd/streamd/partition"
)

func sampleMember() memberData {
	return memberData{
		Self: Self{
			Endpoint: "10.0.0.1:8080", Zone: "a", Version: "1.2.3", Fingerprint: "f0", TransactionalID: "spend-1",
			Capacity: 4,
			Held:     []partition.HeldTask{{Task: partition.TaskID{SubTopology: 1, Partition: 300}, Position: -1}},
		},
		Claimed:       7,
		SubTopologies: []partition.SubTopology{{ID: 1, Sources: []string{"customers", "orders"}}, {ID: 2, Sources: []string{"x"}}},
	}
}

func sampleAssignment() assignmentData {
	return assignmentData{Generation: 8, Live: []string{"spend-1", "spend-17", "spend-2"}}
}

// Members of two versions of streamd share a group while the later one is rolled out: the bytes of a version that
// has been released never change.
func TestUserDataHasItsWrittenForm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bytes []byte
		want  string
	}{
		"member": {sampleMember().append(nil), "01" +
			"0d31302e302e302e313a38303830" + "0161" + "05312e322e33" + "026630" + "077370656e642d31" + "04" + "0e" +
			"02" + "01" + "02" + "09637573746f6d657273" + "066f7264657273" + "02" + "01" + "0178" +
			"01" + "01" + "ac02" + "01"},
		"assignment": {sampleAssignment().append(nil), "01" + "10" + "03" +
			"00077370656e642d31" + "070137" + "060132"},
	} {
		if got := hex.EncodeToString(c.bytes); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

func TestUserDataIsReadBackAsWritten(t *testing.T) {
	t.Parallel()
	for _, want := range []memberData{{}, sampleMember()} {
		got, err := parseMemberData(want.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	for _, want := range []assignmentData{{}, sampleAssignment()} {
		got, err := parseAssignmentData(want.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestLaterUserDataIsReadAsFarAsItIsKnown(t *testing.T) {
	t.Parallel()
	member := append(sampleMember().append(nil), "more"...)
	assignment := append(sampleAssignment().append(nil), "more"...)
	if _, err := parseMemberData(member); !errors.Is(err, ErrUserData) {
		t.Errorf("a member of this version with unknown fields: err = %v", err)
	}
	if _, err := parseAssignmentData(assignment); !errors.Is(err, ErrUserData) {
		t.Errorf("an assignment of this version with unknown fields: err = %v", err)
	}
	member[0], assignment[0] = wireVersion+1, wireVersion+1
	if got, err := parseMemberData(member); err != nil || !cmp.Equal(got, sampleMember()) {
		t.Errorf("a later member: %v, %v", got, err)
	}
	if got, err := parseAssignmentData(assignment); err != nil || !cmp.Equal(got, sampleAssignment()) {
		t.Errorf("a later assignment: %v, %v", got, err)
	}
}

func TestCutUserDataIsRefused(t *testing.T) {
	t.Parallel()
	member, assignment := sampleMember().append(nil), sampleAssignment().append(nil)
	for n := range member {
		if _, err := parseMemberData(member[:n]); !errors.Is(err, ErrUserData) {
			t.Fatalf("%d of %d bytes of a member: err = %v", n, len(member), err)
		}
	}
	for n := range assignment {
		if _, err := parseAssignmentData(assignment[:n]); !errors.Is(err, ErrUserData) {
			t.Fatalf("%d of %d bytes of an assignment: err = %v", n, len(assignment), err)
		}
	}
}

func TestSharedPrefixesCannotFillMemory(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64<<10)
	data := assignmentData{Live: []string{long}}
	for range 512 {
		data.Live = append(data.Live, long)
	}
	if _, err := parseAssignmentData(data.append(nil)); !errors.Is(err, ErrUserData) {
		t.Fatalf("err = %v", err)
	}
}

// What is read at all must survive being written again, unless it is of a later version.
func FuzzUserData(f *testing.F) {
	f.Add(sampleMember().append(nil))
	f.Add(sampleAssignment().append(nil))
	f.Add([]byte{2, 0, 0})
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, src []byte) {
		before := bytes.Clone(src)
		if m, err := parseMemberData(src); err == nil {
			again, err := parseMemberData(m.append(nil))
			if diff := cmp.Diff(m, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Fatalf("member: %v\n%s", err, diff)
			}
		} else if !errors.Is(err, ErrUserData) {
			t.Fatal(err)
		}
		if a, err := parseAssignmentData(src); err == nil {
			again, err := parseAssignmentData(a.append(nil))
			if diff := cmp.Diff(a, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Fatalf("assignment: %v\n%s", err, diff)
			}
		} else if !errors.Is(err, ErrUserData) {
			t.Fatal(err)
		}
		if !slices.Equal(before, src) {
			t.Fatal("the input was changed")
		}
	})
}
