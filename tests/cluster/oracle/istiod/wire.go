package istiod

import (
	"fmt"
	"net"

	"google.golang.org/protobuf/encoding/protowire"
)

// A message of protocol buffers whose fields are not decoded: few of Envoy's many types are of interest here, and of
// those few fields. The numbers of the fields are those of envoyproxy/data-plane-api.
type message []byte

// field is one field of a message: a number, or bytes.
type field struct {
	number protowire.Number
	value  uint64
	bytes  message
}

// fields splits a message.
func (m message) fields() ([]field, error) {
	var out []field
	for rest := []byte(m); len(rest) > 0; {
		number, kind, length := protowire.ConsumeTag(rest)
		if length < 0 {
			return nil, protowire.ParseError(length)
		}
		rest = rest[length:]
		one := field{number: number}
		switch kind {
		case protowire.VarintType:
			one.value, length = protowire.ConsumeVarint(rest)
		case protowire.BytesType:
			one.bytes, length = protowire.ConsumeBytes(rest)
		default:
			length = protowire.ConsumeFieldValue(number, kind, rest)
		}
		if length < 0 {
			return nil, protowire.ParseError(length)
		}
		rest = rest[length:]
		out = append(out, one)
	}
	return out, nil
}

// all follows a path of field numbers, and gives every field at its end.
func (m message) all(path ...protowire.Number) []field {
	fields, err := m.fields()
	if err != nil {
		panic(fmt.Sprintf("istiod sent a message that cannot be decoded: %v", err))
	}
	var out []field
	for _, one := range fields {
		switch {
		case one.number != path[0]:
		case len(path) == 1:
			out = append(out, one)
		default:
			out = append(out, one.bytes.all(path[1:]...)...)
		}
	}
	return out
}

// last gives the field at the end of a path that counts: the last one.
func (m message) last(path ...protowire.Number) field {
	all := m.all(path...)
	if len(all) == 0 {
		return field{}
	}
	return all[len(all)-1]
}

func (m message) text(path ...protowire.Number) string { return string(m.last(path...).bytes) }

func (m message) with(number protowire.Number, value []byte) message {
	return protowire.AppendBytes(protowire.AppendTag(m, number, protowire.BytesType), value)
}

// cluster is a Cluster, as far as it is of interest.
type cluster struct {
	// True if its endpoints come by EDS.
	byEDS     bool
	endpoints []string
}

func clusterOf(m message) cluster {
	const eds = 3
	return cluster{byEDS: m.last(2).value == eds, endpoints: endpointsOf(m.last(33).bytes)}
}

// endpointsOf gives the addresses of a ClusterLoadAssignment that Envoy sends connections to. An endpoint with several
// addresses, of which Envoy tries one after the other, is one text with commas.
func endpointsOf(m message) []string {
	const healthy, degraded = 1, 5
	out := []string{}
	for _, endpoint := range m.all(2, 2) {
		if health := endpoint.bytes.last(2).value; health != 0 && health != healthy && health != degraded {
			continue
		}
		addresses := address(endpoint.bytes.last(1, 1).bytes)
		for _, more := range endpoint.bytes.all(1, 4, 1) {
			addresses += "," + address(more.bytes)
		}
		out = append(out, addresses)
	}
	return out
}

// address writes an Address as `IP:PORT`, or names its kind.
func address(m message) string {
	if socket := m.all(1); len(socket) > 0 {
		it := socket[0].bytes
		return net.JoinHostPort(it.text(2), fmt.Sprint(it.last(3).value))
	}
	if pipe := m.all(2); len(pipe) > 0 {
		return "pipe:" + pipe[0].bytes.text(1)
	}
	return "other address"
}

// namesOf gives the server names of a Listener's filter chains, each with the cluster that it leads to.
func namesOf(m message) map[string]string {
	out := map[string]string{}
	for _, chain := range m.all(3) {
		to := chain.bytes.text(3, 4, 2, 2)
		for _, name := range chain.bytes.all(1, 11) {
			out[string(name.bytes)] = to
		}
	}
	return out
}
