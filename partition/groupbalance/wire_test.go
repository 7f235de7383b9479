// SPDX-License-Identifier: Apache-2.0

package groupbalance

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
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
			Capacity: 4, Leaving: true,
			Held: []partition.HeldTask{{Task: partition.TaskID{SubTopology: 1, Partition: 300}, Position: -1, Warm: true, Use: partition.ForWarmUp}},
		},
		Claimed:       7,
		SubTopologies: []partition.SubTopology{{ID: 1, Sources: []string{"customers", "orders"}}, {ID: 2, Sources: []string{"x"}}},
	}
}

func sampleAssignment() assignmentData {
	d := assignmentData{SubTopologies: []partition.SubTopology{{ID: 1, Sources: []string{"x"}}}}
	d.Generation, d.Self = 8, 2
	task := func(n int32) partition.TaskID { return partition.TaskID{SubTopology: 1, Partition: n} }
	d.Members = []TableMember{
		{TransactionalID: "spend-1", Endpoint: "h:1", Zone: "a", Version: "v", Owned: []partition.TaskID{task(0), task(300)}},
		{TransactionalID: "spend-17", Leaving: true, Standby: []partition.TaskID{task(0)}},
		{TransactionalID: "spend-2", WarmUp: []partition.TaskID{task(300)}},
	}
	d.Moves = []partition.Move{
		{Task: task(0), To: "spend-1", State: partition.Moving},
		{Task: task(300), From: "spend-1", To: "spend-2", Reason: partition.Balance, State: partition.Warming},
	}
	return d
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
			"0d31302e302e302e313a38303830" + "0161" + "05312e322e33" + "026630" + "077370656e642d31" + "04" + "01" + "0e" +
			"02" + "01" + "02" + "09637573746f6d657273" + "066f7264657273" + "02" + "01" + "0178" +
			"01" + "01" + "ac02" + "01" + "01" + "02"},
		"assignment": {sampleAssignment().append(nil), "01" + "02" + "10" + "01" + "01" + "01" + "0178" + "03" +
			"00077370656e642d31" + "03683a31" + "0161" + "0176" + "00" + "02" + "0100" + "01ac02" + "00" + "00" +
			"070137" + "00" + "00" + "00" + "01" + "00" + "01" + "0100" + "00" +
			"060132" + "00" + "00" + "00" + "00" + "00" + "00" + "01" + "01ac02" +
			"02" + "0100" + "00" + "01" + "00" + "02" + "01ac02" + "01" + "03" + "03" + "01"},
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
	for _, want := range []assignmentData{{Table: Table{Members: []TableMember{{}}}}, sampleAssignment()} {
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
	var data assignmentData
	for range 512 {
		data.Members = append(data.Members, TableMember{TransactionalID: long})
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

// The broker keeps all assignments of a group in one record.
func TestALargeGroupFitsIntoARecord(t *testing.T) {
	t.Parallel()
	const members, tasks, limit = 50, 1000, 1 << 20
	var d assignmentData
	d.SubTopologies = []partition.SubTopology{{ID: 1, Sources: []string{"application-1-by-customer-repartition"}}}
	for i := range members {
		m := TableMember{TransactionalID: fmt.Sprintf("application-1-%026d", i*7919), Endpoint: "https://10.100.200.100:8080", Zone: "eu-central-1a", Version: "v1.22.333"}
		for n := range int32(tasks / members) {
			id := partition.TaskID{SubTopology: 1, Partition: int32(i)*tasks/members + n}
			m.Owned, m.Standby = append(m.Owned, id), append(m.Standby, id)
		}
		d.Members = append(d.Members, m)
	}
	if size := len(d.append(nil)) * members; size > limit/2 {
		t.Errorf("%d assignments take %d bytes", members, size)
	}
}
