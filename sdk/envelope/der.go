package envelope

import "errors"

// The libraries speak DER, SEQUENCE{INTEGER r, INTEGER s}; documents carry r ‖ s. These two
// functions are the whole of that border. Everything is at most 72 bytes long, so every length is
// one byte.

// maxDER is a sequence header and two integers of 33 bytes with theirs.
const maxDER = 2 + 2*(2+33)

var errDER = errors.New("envelope: library returned a malformed signature")

// derSignature appends the DER form of raw to dst; false unless raw has the right length and
// neither half is zero.
func derSignature(dst, raw []byte) ([]byte, bool) {
	if len(raw) != SignatureSize {
		return nil, false
	}
	dst = append(dst, 0x30, 0)
	for _, half := range [2][]byte{raw[:32], raw[32:]} {
		for len(half) > 0 && half[0] == 0 {
			half = half[1:]
		}
		if len(half) == 0 {
			return nil, false
		}
		if half[0] < 0x80 {
			dst = append(dst, 0x02, byte(len(half)))
		} else { // a leading zero keeps the integer positive
			dst = append(dst, 0x02, byte(len(half)+1), 0)
		}
		dst = append(dst, half...)
	}
	dst[1] = byte(len(dst) - 2)
	return dst, true
}

// rawSignature turns what a library returned into r ‖ s. It accepts DER only.
func rawSignature(der []byte) ([]byte, error) {
	if len(der) > maxDER || len(der) < 2 || der[0] != 0x30 || int(der[1]) != len(der)-2 {
		return nil, errDER
	}
	raw := make([]byte, SignatureSize)
	rest := der[2:]
	for _, half := range [2][]byte{raw[:32], raw[32:]} {
		if len(rest) < 3 || rest[0] != 0x02 {
			return nil, errDER
		}
		n := int(rest[1])
		if n == 0 || n > len(rest)-2 {
			return nil, errDER
		}
		number := rest[2 : 2+n]
		rest = rest[2+n:]
		switch {
		case number[0] >= 0x80: // negative
			return nil, errDER
		case number[0] == 0 && (n == 1 || number[1] < 0x80): // zero, or not the shortest form
			return nil, errDER
		case number[0] == 0:
			number = number[1:]
		}
		if len(number) > len(half) {
			return nil, errDER
		}
		copy(half[len(half)-len(number):], number)
	}
	if len(rest) != 0 {
		return nil, errDER
	}
	return raw, nil
}
