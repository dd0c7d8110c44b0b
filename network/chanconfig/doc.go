// Package chanconfig changes a channel's configuration: who its organisations are, by which authorities they are
// known, by which certificates orderers know one another.
//
// A change is made on the newest configuration block, becomes an update in Fabric's own format, is signed by
// administrators until the channel's policies are met, and is ordered. Between these steps it is a file: `peer channel
// signconfigtx` and `peer channel update` take it as it is, and each organisation signs on its own machine.
package chanconfig
