"""ClientHellos, byte by byte: made by a generator, judged by servers of OpenSSL and GnuTLS."""
