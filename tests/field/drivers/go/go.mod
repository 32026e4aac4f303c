module strait.test/peer

go 1.21
