// Package doctor says what is wrong with a network and what to do about it.
//
// It works in two halves. Looking asks everything there is, all at once and each with a deadline, and writes down
// what was seen: processes, sockets, certificates, heights (twice, some seconds apart, where something seems to
// stand still), definitions, clocks. Judging is a pure function of what was seen. So a dead half of the network costs
// the other half nothing, and every judgement can be tested without a network.
//
// It changes nothing: it reads files, opens connections, asks questions that peers answer without ordering
// anything.
//
//	report, err := doctor.Examine(ctx, net, doctor.Options{})
package doctor
