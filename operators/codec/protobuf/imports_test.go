// SPDX-License-Identifier: Apache-2.0

package protobuf

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// file makes a file with the imports given.
func file(t *testing.T, files *protoregistry.Files, name string, imports ...string) protoreflect.FileDescriptor {
	t.Helper()
	fd, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String(name), Syntax: proto.String("proto3"), Dependency: imports,
	}, files)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.RegisterFile(fd); err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestImportsAreReferencesByTheirPath(t *testing.T) {
	t.Parallel()
	files := &protoregistry.Files{}
	file(t, files, "google/protobuf/own.proto")
	file(t, files, "shop/money.proto", "google/protobuf/own.proto")
	file(t, files, "shop/item.proto", "shop/money.proto")
	s, err := schemaOf(file(t, files, "shop/order.proto", "shop/item.proto", "google/protobuf/own.proto"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for refs := s.References; len(refs) == 1; refs = refs[0].Schema.References {
		names = append(names, refs[0].Name)
		if fileOf(refs[0].Schema.Text).GetName() != refs[0].Name {
			t.Fatalf("%s is described as %s", refs[0].Name, fileOf(refs[0].Schema.Text).GetName())
		}
	}
	if len(names) != 2 || names[0] != "shop/item.proto" || names[1] != "shop/money.proto" {
		t.Fatalf("references %q", names)
	}
}
